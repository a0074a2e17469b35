"""The schema of the record: one SQL file a version, applied in order, and one that leads back."""
