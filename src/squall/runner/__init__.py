"""Inside the container: load the user's code, run inputs, send outcomes. Standard library and cloudpickle only."""
