"""A local Apache Kafka cluster without Docker."""
