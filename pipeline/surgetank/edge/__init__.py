"""Scores files without Kafka, with the processing of a worker and local state."""
