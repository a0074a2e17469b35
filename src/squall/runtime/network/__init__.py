"""Network: what joins a container to its host, and what keeps it from the rest of it."""
