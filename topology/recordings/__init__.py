"""Recorded events that can be replayed: one module each."""
