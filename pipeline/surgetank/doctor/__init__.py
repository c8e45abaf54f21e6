"""Finds what keeps a pipeline from running on this machine and this Kafka, and says what to do."""
