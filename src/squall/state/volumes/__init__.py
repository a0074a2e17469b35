"""Volumes: the record of volumes and of their versions."""
