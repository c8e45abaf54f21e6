"""Pictures for the README, drawn from what a real Prometheus saw of a real run: `python -m ops.pictures`."""
