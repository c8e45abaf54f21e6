"""What developers run: benches, training, deployment."""
