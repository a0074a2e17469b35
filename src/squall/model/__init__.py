"""The nouns of Squall: frozen values that every other layer may know."""
