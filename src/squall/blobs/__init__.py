"""Bytes by digest: manifests of directories, the stores that keep them, and what may go."""
