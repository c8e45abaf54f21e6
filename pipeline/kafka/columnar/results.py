"""What a poll and an append return."""

from typing import NamedTuple

from confluent_kafka import KafkaError

from pipeline.records import PartitionRecords, TopicPartition


class PartitionError(NamedTuple):
    """An error of reading a source. The partition is -1, and the topic may be empty, where it is of none."""

    source: TopicPartition
    error: KafkaError


class Polled(NamedTuple):
    """What one poll returned: at most one entry per source in ``records``."""

    records: list[PartitionRecords]
    errors: list[PartitionError]
    rows: int


class Appended(NamedTuple):
    """How far a batch got into a producer's queue: rows before ``next_row`` are in it.

    ``error`` is why the row ``next_row`` is not; None if all are. ``KafkaError._QUEUE_FULL`` asks to serve delivery
    reports and to go on from that row.
    """

    next_row: int
    error: KafkaError | None
