"""The Python that a base image with a root of its own is given: looked for in it, or laid over it."""
