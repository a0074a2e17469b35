"""Testing: what proves Squall, for us and for users: conformance checks, a local cluster in a test."""
