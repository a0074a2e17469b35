"""A bucket as a file system: what the kernel asks, answered from a bucket's objects."""
