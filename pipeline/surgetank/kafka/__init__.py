"""Kafka access: clients, topics, and a real local cluster without Docker."""
