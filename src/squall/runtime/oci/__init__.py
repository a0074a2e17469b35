"""OCI: containers whose inner half an installed runtime makes: crun, runc, or runsc for level `gvisor`."""
