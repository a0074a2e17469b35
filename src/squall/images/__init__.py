"""Images: what a container's file system is made of, planned and built on this machine."""
