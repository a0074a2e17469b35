"""Changes: what a container has changed in its root, kept as a layer with the owners that the container saw."""
