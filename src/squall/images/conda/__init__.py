"""Conda: an environment of conda packages in an image, solved and installed by py-rattler in the sandbox of a step."""
