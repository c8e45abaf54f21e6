"""Talks to Kafka: clients, topics, and a real local cluster without Docker."""
