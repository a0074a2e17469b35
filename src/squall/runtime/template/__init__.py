"""Template: a Python process that has the user's imports done, and from which containers are forked."""
