"""Bytes by digest: trees of files, the stores that keep them, and what may go."""
