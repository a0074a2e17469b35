"""Faults on purpose: real processes killed and hindered under load, and the evidence of what became of the work."""
