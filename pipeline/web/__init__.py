"""What a worker answers over HTTP beside its metrics: what it remembers of keys."""
