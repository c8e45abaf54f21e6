"""Reads the topics of an odd pipeline whole, with the ordinary consumer of confluent-kafka: not that of the engine."""

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from surgetank.drills.odd.stopping import raise_if_stopped
from surgetank.errors import BrokerError
from surgetank.kafka import clients
from surgetank.kafka.columnar.plain import PlainConsumer
from surgetank.kafka.topic_reader import TopicReader, offsets, partitions
from surgetank.records import Headers, TopicPartition
from surgetank.settings import KafkaSettings

_ROWS = 4_096  # of one read
_POLL_SECONDS = 0.5
_SILENCE_SECONDS = 30.0


class Position(NamedTuple):
    """The place of one record."""

    topic: str
    partition: int
    offset: int


class ReadRecord(NamedTuple):
    """A record as its topic has it. The headers are ``UNREADABLE`` if the name of one is not UTF-8."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: Headers


def read_topics(kafka: KafkaSettings, topics: Sequence[str], stop: threading.Event) -> Iterator[ReadRecord]:
    """Yield every committed record of the topics, each partition in order.

    Raises BrokerError, TopicsError, DrillStopped.
    """
    with TopicReader(kafka, topics, consumer=PlainConsumer) as reader:
        ends, silent = reader.ends(), 0.0
        while not reader.reached(ends):
            raise_if_stopped(stop)
            records = reader.read(_ROWS, _POLL_SECONDS)
            silent = 0.0 if len(records) else silent + _POLL_SECONDS
            if silent > _SILENCE_SECONDS:
                raise BrokerError(f"{kafka.bootstrap} gives no more records, and the end is not reached")
            for row in range(len(records)):
                topic, partition = records.sources[records.source[row]]
                yield ReadRecord(
                    Position(topic, partition, int(records.offsets[row])),
                    records.keys[row].as_py(),
                    records.values[row].as_py(),
                    records.headers_of(row),
                )


def ends_of(kafka: KafkaSettings, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Return the end of each partition of the topics. Raises BrokerError, TopicsError."""
    admin = clients.admin(kafka)
    return offsets(admin, partitions(admin, topics, kafka.bootstrap), "latest")
