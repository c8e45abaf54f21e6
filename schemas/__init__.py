"""Avro contracts, one per topic, and the ids that stand for them on the wire."""
