"""What could not be scored, with its reason."""
