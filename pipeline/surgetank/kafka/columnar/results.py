"""The results of a poll and of an append."""

from typing import NamedTuple

from confluent_kafka import KafkaError

from surgetank.records import PartitionRecords, TopicPartition

POLL_INTERRUPTED = (
    "an exception ended an earlier poll, whose records were not returned: close this consumer, and assign the "
    "positions after the last returned records to a new one"
)


class PartitionError(NamedTuple):
    """An error of reading a partition. Partition -1, with a topic that may be empty: it concerns no partition."""

    source: TopicPartition
    error: KafkaError


class Polled(NamedTuple):
    """The result of one poll: at most one entry per partition in ``records``."""

    records: list[PartitionRecords]
    errors: list[PartitionError]
    rows: int


class Appended(NamedTuple):
    """The progress of an append: rows before ``next_row`` are in the producer's queue.

    ``error`` is the reason why row ``next_row`` is not; None if all rows are. On ``KafkaError._QUEUE_FULL`` the caller
    serves delivery reports and continues from that row.
    """

    next_row: int
    error: KafkaError | None
