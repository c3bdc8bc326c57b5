"""The style gap of preference files."""
