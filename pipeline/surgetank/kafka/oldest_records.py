"""Reads the timestamp of the record at an offset, for many partitions, through one consumer without a group."""

import time
from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.kafka import clients
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings

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
    """Reads the first record at or after each of several positions, as long as its process runs."""

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

    def read(self, positions: Iterable[ReadPosition], timeout: float) -> dict[ReadPosition, OldestRecord]:
        """Return the records at the positions, at most one position per partition; omit those not read in time."""
        wanted = {position.source: position for position in positions}
        found: dict[ReadPosition, OldestRecord] = {}
        self._consumer.assign([KafkaTopicPartition(*each.source, each.offset) for each in wanted.values()])
        try:
            deadline = time.monotonic() + timeout
            while wanted and time.monotonic() < deadline:
                read = {}
                for message in self._consumer.consume(READ_ROWS, POLL_SECONDS):
                    position = wanted.get(TopicPartition(message.topic(), message.partition()))
                    record = _oldest(message)
                    if position is not None and record is not None:
                        read[wanted.pop(position.source)] = record
                found |= read
                if read and wanted:  # the other records of these partitions are not needed
                    self._consumer.incremental_unassign([KafkaTopicPartition(*each.source) for each in read])
        finally:
            self._consumer.unassign()
        return found


def _oldest(message: Message) -> OldestRecord | None:
    error = message.error()
    if error is None:
        kind, at_ms = message.timestamp()
        return OldestRecord(None if kind == TIMESTAMP_NOT_AVAILABLE else at_ms, empty=False)
    return OldestRecord(None, empty=True) if error.code() == KafkaError._PARTITION_EOF else None
