"""Reads the topics of an odd pipeline whole, with the ordinary consumer of confluent-kafka: not that of the engine."""

import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.drills.odd.stopping import raise_if_stopped
from pipeline.errors import BrokerError
from pipeline.kafka import clients
from pipeline.kafka.message_headers import headers_of
from pipeline.kafka.topic_reader import offsets, partitions
from pipeline.records import Headers, TopicPartition
from pipeline.settings import KafkaSettings

_ROWS, _QUEUE_KILOBYTES = 4_096, 65_536  # of one read; of the records that wait in the client
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
    admin = clients.admin(kafka)
    sources = partitions(admin, topics, kafka.bootstrap)
    reached, ends = offsets(admin, sources, "earliest"), offsets(admin, sources, "latest")
    consumer = clients.reader(
        kafka, enable_partition_eof=True, auto_offset_reset="error", queued_max_messages_kbytes=_QUEUE_KILOBYTES
    )
    silent = 0.0
    try:
        consumer.assign([KafkaTopicPartition(*source, offset) for source, offset in reached.items()])
        while any(reached[source] < ends[source] for source in sources):
            raise_if_stopped(stop)
            messages = _polled(consumer)
            silent = 0.0 if messages else silent + _POLL_SECONDS
            if silent > _SILENCE_SECONDS:
                raise BrokerError(f"{kafka.bootstrap} gives no more records, and the end is not reached")
            for message in messages:
                position = Position(message.topic() or "", int(message.partition() or 0), int(message.offset() or 0))
                source, error = TopicPartition(*position[:2]), message.error()
                if error is None:
                    reached[source] = position.offset + 1
                    yield ReadRecord(position, message.key(), message.value(), headers_of(message))
                elif error.code() == KafkaError._PARTITION_EOF:  # its offset is behind the last markers
                    reached[source] = max(reached[source], position.offset)
                else:
                    raise BrokerError(f"{source} cannot be read: {error.str()}")
    finally:
        consumer.close()


def ends_of(kafka: KafkaSettings, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Return the end of each partition of the topics. Raises BrokerError, TopicsError."""
    admin = clients.admin(kafka)
    return offsets(admin, partitions(admin, topics, kafka.bootstrap), "latest")


def _polled(consumer: Consumer) -> list[Message]:
    """Wait for a message; return it with those that are already available."""
    first = consumer.poll(_POLL_SECONDS)
    return [] if first is None else [first, *consumer.consume(_ROWS, 0)]
