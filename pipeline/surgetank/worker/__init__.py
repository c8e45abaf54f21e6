"""Builds the parts of a worker, and ends its process."""
