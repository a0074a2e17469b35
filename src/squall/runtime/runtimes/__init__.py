"""Runtimes: which OCI runtimes are on a machine, found by running a container with each."""
