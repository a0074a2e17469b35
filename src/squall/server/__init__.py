"""The control plane: apps, calls on the data path, capacity on the control path, and the record of both."""
