"""Reads the timestamp of the record at an offset, for many partitions, through one consumer without a group."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.kafka import clients
from pipeline.records import TopicPartition
from pipeline.settings import KafkaSettings

POLL_SECONDS = 0.02  # consume waits this long unless the requested number of records is available
READ_ROWS = 2000


class ReadPosition(NamedTuple):
    """An offset of a partition."""

    source: TopicPartition
    offset: int


class OldestRecord(NamedTuple):
    """The timestamp of the first record at or after a position, in milliseconds since the epoch, or None.

    None with ``empty``: there is no record up to the end, only transaction markers. None without: it has no timestamp.
    """

    at_ms: int | None
    empty: bool


class OldestRecords:
    """Reads the first record at or after each of several positions. Close it after use."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._consumer = clients.reader(
            kafka,
            enable_partition_eof=True,
            auto_offset_reset="error",
            # One record of each partition is needed, so nothing is prefetched and one batch is enough.
            queued_min_messages=1,
            queued_max_messages_kbytes=4096,
            fetch_message_max_bytes=16_384,
            fetch_max_bytes=4_194_304,
            fetch_wait_max_ms=20,
            fetch_queue_backoff_ms=1,  # by default a partition waits a second between reads
            check_crcs=False,
        )

    def read(self, places: Iterable[ReadPosition], timeout: float) -> dict[ReadPosition, OldestRecord]:
        """Return the records at the positions, at most one position per partition; omit those not read in time."""
        wanted = {place.source: place for place in places}
        found: dict[ReadPosition, OldestRecord] = {}
        self._consumer.assign([KafkaTopicPartition(*place.source, place.offset) for place in wanted.values()])
        try:
            deadline = time.monotonic() + timeout
            while wanted and time.monotonic() < deadline:
                told = {}
                for message in self._consumer.consume(READ_ROWS, POLL_SECONDS):
                    place = wanted.get(TopicPartition(message.topic(), message.partition()))
                    head = _head(message)
                    if place is not None and head is not None:
                        told[wanted.pop(place.source)] = head
                found |= told
                if told and wanted:  # the other records of these partitions are not needed
                    self._consumer.incremental_unassign([KafkaTopicPartition(*place.source) for place in told])
        finally:
            self._consumer.unassign()
        return found

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()


def _head(message: Message) -> OldestRecord | None:
    error = message.error()
    if error is None:
        kind, at_ms = message.timestamp()
        return OldestRecord(None if kind == TIMESTAMP_NOT_AVAILABLE else at_ms, empty=False)
    return OldestRecord(None, empty=True) if error.code() == KafkaError._PARTITION_EOF else None
