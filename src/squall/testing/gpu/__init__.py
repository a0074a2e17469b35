"""GPU evidence: one offline command that shows on a machine with a GPU what the tests can only replay."""
