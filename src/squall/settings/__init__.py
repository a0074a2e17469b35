"""Settings of one machine's Squall: where its files are, its options, its version."""
