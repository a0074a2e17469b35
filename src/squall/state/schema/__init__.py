"""The schema of the record: one SQL file a version, applied forward only and in order."""
