"""Decisions only: the life of an input, who runs what, how many containers, and where."""
