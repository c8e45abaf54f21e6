"""The runtime of a worker: membership, fetching, tasks, progress, transactions."""
