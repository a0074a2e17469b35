"""Images with a root of their own: a base, and a layer for each step over it."""
