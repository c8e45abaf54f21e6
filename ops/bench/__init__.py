"""The same job in four implementations on one real Kafka: `surgetank bench`, or `python -m ops.bench`."""
