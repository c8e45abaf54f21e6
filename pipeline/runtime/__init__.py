"""The runtime of a worker: the task manager and what executes its decisions."""
