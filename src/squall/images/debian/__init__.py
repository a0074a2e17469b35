"""Debian: a root made from the distribution's own packages, without a program of the distribution on this machine."""
