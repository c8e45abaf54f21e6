"""HTTP: lookups by key, and requests to workers."""
