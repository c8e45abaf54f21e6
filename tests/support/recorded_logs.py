"""A consumer of partitions that are lists in memory, for tests of what reads Kafka without a broker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.records import TopicPartition


@dataclass(frozen=True, slots=True)
class Message:
    """A record as consumers return it, or an error of a partition."""

    source: TopicPartition
    at: int
    key_: bytes | None = None
    value_: bytes | None = None
    headers_: tuple[tuple[str, bytes], ...] = ()
    at_ms: int = 0
    error_: KafkaError | None = None

    def topic(self) -> str:
        """Return the topic."""
        return self.source.topic

    def partition(self) -> int:
        """Return the partition."""
        return self.source.partition

    def offset(self) -> int:
        """Return the offset."""
        return self.at

    def error(self) -> KafkaError | None:
        """Return the error instead of a record."""
        return self.error_

    def key(self) -> bytes | None:
        """Return the key."""
        return self.key_

    def value(self) -> bytes | None:
        """Return the value."""
        return self.value_

    def headers(self) -> list[tuple[str, bytes]]:
        """Return the headers."""
        return list(self.headers_)

    def timestamp(self) -> tuple[int, int]:
        """Return the type and the time in milliseconds."""
        return 1, self.at_ms


@dataclass
class Log:
    """A partition from offset ``low`` on. None is a marker of a transaction or an aborted record.

    ``growing`` more records are appended by each call of ``consume``; ``error``: consuming it fails; ``silent``: it
    returns neither records nor its end; ``ends`` False: the end of the partition is never reported.
    """

    records: list[Message | None] = field(default_factory=list)
    low: int = 0
    growing: int = 0
    error: int | None = None
    silent: bool = False
    ends: bool = True

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.low + len(self.records)


class LogConsumer:
    """Reads logs as a consumer with ``enable.partition.eof`` and read_committed. ``unreachable`` have no leader."""

    def __init__(self, logs: Mapping[TopicPartition, Log], unreachable: Sequence[TopicPartition] = ()) -> None:
        self.logs = logs
        self.unreachable = unreachable
        self.positions: dict[TopicPartition, int] = {}
        self.ended: set[TopicPartition] = set()
        self.assignments: list[set[TopicPartition]] = []
        self.consumed = 0

    def get_watermark_offsets(self, asked: Any, timeout: float = 0, cached: bool = True) -> tuple[int, int]:
        """Return the first offset and the end."""
        source = TopicPartition(asked.topic, asked.partition)
        if source in self.unreachable:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return self.logs[source].low, self.logs[source].end

    def assign(self, asked: Sequence[KafkaTopicPartition]) -> None:
        """Read these partitions from these offsets."""
        self.positions = {TopicPartition(each.topic, each.partition): each.offset for each in asked}
        self.assignments.append(set(self.positions))
        self.ended.clear()

    def consume(self, rows: int, timeout: float = 0) -> list[Message]:
        """Return the next records of each partition, with errors and ends."""
        self.consumed += 1
        assert self.consumed < 50, "the reader does not end"
        return [message for source in self.positions for message in self._next(source, rows)]

    def _next(self, source: TopicPartition, rows: int) -> list[Message]:
        log, at = self.logs[source], self.positions[source]
        if log.silent:
            return []
        if log.error is not None:
            return [Message(source, 0, error_=KafkaError(log.error))]
        found = [each for each in log.records[at - log.low :][:rows] if each is not None]
        self.positions[source] = min(log.end, at + rows)
        log.records += [Message(source, log.end + n, b"later") for n in range(log.growing)]
        if self.positions[source] == log.end and log.ends and source not in self.ended:
            self.ended.add(source)
            found.append(Message(source, log.end, error_=KafkaError(KafkaError._PARTITION_EOF)))
        return found

    def close(self) -> None:
        """Close it."""


def opening(consumer: LogConsumer) -> Callable[..., LogConsumer]:
    """Return a replacement of ``clients.reader`` that returns this consumer."""
    return lambda *_, **__: consumer
