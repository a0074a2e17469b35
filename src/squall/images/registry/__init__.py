"""Registry: images fetched from and sent to servers that speak the OCI distribution protocol."""
