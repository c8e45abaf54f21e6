"""Rollout commands, the table of states that they drive, and the follower in each worker."""
