"""Upkeep of state while no worker runs: everything in place, by transactions, so that it can be cut short anywhere."""
