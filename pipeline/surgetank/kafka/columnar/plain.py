"""Implements both directions with the ordinary confluent-kafka client, one Python object per record."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.kafka.columnar.results import POLL_INTERRUPTED, Appended, PartitionError, Polled
from surgetank.kafka.message_headers import headers_of
from surgetank.records import Headers, Int64s, OutputRecords, PartitionRecords, TopicPartition, large_binary


class PlainConsumer:
    """Implements ``interface.BatchConsumer``. ``options`` are those of ``confluent_kafka.Consumer``."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._consumer = Consumer(dict(options))
        self._interrupted = False  # whether a poll began whose result is not complete
        self._largest = 1

    def look_up(self, topic: str, timeout: float) -> None:
        """See ``BatchConsumer``."""
        self._consumer.list_topics(topic, timeout=timeout)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.incremental_assign(
            [KafkaTopicPartition(*source, offset) for source, offset in positions.items()]
        )

    def unassign(self, sources: Collection[TopicPartition]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.incremental_unassign([KafkaTopicPartition(*source) for source in sources])

    def pause(self, sources: Collection[TopicPartition]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.pause([KafkaTopicPartition(*source) for source in sources])

    def resume(self, sources: Collection[TopicPartition]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.resume([KafkaTopicPartition(*source) for source in sources])

    def poll(self, timeout: float, *, rows_max: int, bytes_max: int) -> Polled:
        """See ``BatchConsumer``."""
        if self._interrupted:
            raise RuntimeError(POLL_INTERRUPTED)
        self._interrupted = True
        polled = self._poll(timeout, rows_max, bytes_max)
        self._interrupted = False
        return polled

    def close(self) -> None:
        """See ``BatchConsumer``."""
        self._consumer.close()

    def _poll(self, timeout: float, rows_max: int, bytes_max: int) -> Polled:
        # consume(n, t) waits all of t unless n records are available; poll returns with the first record.
        first = self._consumer.poll(timeout)
        found = [] if first is None else [first]
        rows: dict[TopicPartition, list[Message]] = {}
        ends: dict[TopicPartition, int] = {}
        errors: list[PartitionError] = []
        size, seen, n = 0, 1, 0
        while found:
            n += len(found)
            for message in found:
                error, partition = message.error(), message.partition()
                source = TopicPartition(message.topic() or "", -1 if partition is None else partition)
                if error is None:
                    rows.setdefault(source, []).append(message)
                    length = len(message.key() or b"") + len(message.value() or b"") + _size(headers_of(message))
                    size, seen = size + length, max(seen, length)
                elif error.code() == KafkaError._PARTITION_EOF:
                    rows.setdefault(source, [])
                    ends[source] = message.offset()
                else:
                    errors.append(PartitionError(source, error))
            self._largest = max(self._largest, seen)
            want = min(rows_max - n, (bytes_max - size) // self._largest)
            found = self._consumer.consume(want, 0) if want > 0 else []
        self._largest = seen
        records = [_records(source, theirs, ends.get(source, -1)) for source, theirs in rows.items()]
        return Polled(records, errors, sum(map(len, records)))


class PlainProducer:
    """Implements ``interface.BatchProducer``."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def append(self, records: OutputRecords, first: int = 0) -> Appended:
        """See ``BatchProducer``."""
        produce, topic, row = self._producer.produce, records.topic, first
        some = records.slice(first, len(records))
        rows = zip(some.values.to_pylist(), some.keys.to_pylist(), some.partitions.tolist(), strict=True)
        try:
            if some.headers is None:  # positional arguments take two thirds of the time of keywords
                for value, key, partition in rows:
                    produce(topic, value, key, partition)
                    row += 1
            else:
                for (value, key, partition), headers in zip(rows, some.headers, strict=True):
                    produce(topic, value, key, partition, headers=list(headers))
                    row += 1
        except BufferError as error:
            return Appended(row, KafkaError(KafkaError._QUEUE_FULL, str(error)))
        except KafkaException as error:
            return Appended(row, error.args[0])
        return Appended(row, None)


def _records(source: TopicPartition, messages: list[Message], end: int) -> PartitionRecords:
    n = len(messages)
    offsets = np.fromiter(map(Message.offset, messages), np.int64, n)
    return PartitionRecords(
        source,
        max(int(offsets[-1]) + 1 if n else 0, end),
        offsets,
        np.fromiter((message.timestamp()[1] for message in messages), np.int64, n),
        large_binary(list(map(Message.key, messages))),
        large_binary(list(map(Message.value, messages))),
        _headers_of(messages),
        _header_bytes(messages),
    )


def _header_bytes(messages: list[Message]) -> Int64s | None:
    """Return int64 [n]: the bytes of the headers of each message; None if there are none. Unreadable count as 2."""
    sizes = np.fromiter((_size(headers_of(message)) for message in messages), np.int64, len(messages))
    return sizes if sizes.any() else None


def _size(headers: Headers) -> int:
    return sum(len(name.encode(errors="surrogateescape")) + len(value or b"") for name, value in headers)


def _headers_of(messages: list[Message]) -> Callable[[int], Headers]:
    return lambda row: headers_of(messages[row])
