"""Reads and writes Kafka in columns, without a Python object per record.

Each direction has two implementations of one protocol (``interface``): ``consumer`` and ``producer`` call librdkafka
from compiled loops, ``plain`` uses the ordinary confluent-kafka client. ``select`` chooses one at start.
"""
