"""The real planner and waiting line on virtual time: made-up traffic, made-up machines, seeded faults."""
