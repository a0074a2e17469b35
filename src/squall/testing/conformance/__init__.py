"""Conformance: what every implementation of a Protocol must do, as checks that a test runs against it."""
