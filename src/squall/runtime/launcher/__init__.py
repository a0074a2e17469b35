"""A launcher: the process that starts, holds and ends the containers of one function, and outlives its agent."""
