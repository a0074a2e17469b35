"""What users import: apps, functions, calls and images, and the client that speaks to the server."""
