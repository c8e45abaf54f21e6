"""The same job done four ways, on one real Kafka: `surgetank bench`, or `python -m ops.bench`."""
