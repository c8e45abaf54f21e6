"""Features computed offline, and their comparison with those computed online."""
