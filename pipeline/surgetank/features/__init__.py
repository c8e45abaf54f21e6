"""Feature declarations, and the model's input matrix computed from event columns and keyed state."""
