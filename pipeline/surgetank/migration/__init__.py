"""Changes the state of a stopped pipeline: reshard, rebuild."""
