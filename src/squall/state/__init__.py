"""What outlives the server: the record of apps, calls and outcomes, and the containers' logs."""
