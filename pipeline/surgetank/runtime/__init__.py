"""The runtime of a worker: tasks, fetching, restoring, transactions."""
