"""The judge of a rollout: measurements of two versions in, a verdict with its reasons out. Pure functions of values."""
