"""What makes a fresh clone run: a private environment, then one of its programs. Standard library only."""
