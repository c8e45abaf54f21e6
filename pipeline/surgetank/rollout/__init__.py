"""Rollout of model versions: which version answers, who decides it, and what every worker does about it."""
