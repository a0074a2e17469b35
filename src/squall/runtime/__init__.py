"""One sandbox on one machine: what isolates, limits, starts and ends a container. It knows no app, call or server."""
