"""Reads the topics of an odd pipeline whole."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.errors import BrokerError
from pipeline.kafka import clients
from pipeline.kafka.columnar.select import batch_consumer
from pipeline.kafka.topic_reader import offsets, partitions
from pipeline.records import Headers, PartitionRecords, TopicPartition
from pipeline.settings import KafkaSettings

_ROWS, _BYTES = 4_096, 64 << 20  # of one read
_POLL_SECONDS = 0.5
_SILENCE_SECONDS = 30.0


class Position(NamedTuple):
    """The place of one record."""

    topic: str
    partition: int
    offset: int


class ReadRecord(NamedTuple):
    """A record as its topic has it. Bytes of header names that are not UTF-8 are surrogates."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers


def read_topics(kafka: KafkaSettings, topics: Sequence[str]) -> Iterator[ReadRecord]:
    """Yield every committed record of the topics, each partition in order. Raises BrokerError, TopicsError."""
    admin = clients.admin(kafka)
    sources = partitions(admin, topics, kafka.bootstrap)
    reached, ends = offsets(admin, sources, "earliest"), offsets(admin, sources, "latest")
    consumer = batch_consumer(clients.reader_options(kafka, enable_partition_eof=True, auto_offset_reset="error"))
    silent = 0.0
    try:
        consumer.assign(reached)
        while any(reached[source] < ends[source] for source in sources):
            polled = consumer.poll(_POLL_SECONDS, rows_max=_ROWS, bytes_max=_BYTES)
            if polled.errors:
                raise BrokerError(f"{polled.errors[0].source} cannot be read: {polled.errors[0].error.str()}")
            silent = 0.0 if polled.records else silent + _POLL_SECONDS
            if silent > _SILENCE_SECONDS:
                raise BrokerError(f"{kafka.bootstrap} gives no more records, and the end is not reached")
            for part in polled.records:
                reached[part.source] = part.next_offset
                yield from _rows(part)
    finally:
        consumer.close()


def ends_of(kafka: KafkaSettings, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Return the end of each partition of the topics. Raises BrokerError, TopicsError."""
    admin = clients.admin(kafka)
    return offsets(admin, partitions(admin, topics, kafka.bootstrap), "latest")


def _rows(part: PartitionRecords) -> Iterator[ReadRecord]:
    for row in range(len(part)):
        yield ReadRecord(
            Position(*part.source, int(part.offsets[row])),
            part.keys[row].as_py(),
            part.values[row].as_py(),
            part.headers_of(row),
        )
