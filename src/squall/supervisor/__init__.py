"""The supervisor: starts the server and the agent of one state directory, and starts each again when it falls."""
