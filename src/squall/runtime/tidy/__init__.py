"""Tidy: a program that removes what the containers of launchers that were killed have left."""
