"""Both directions with the ordinary confluent-kafka client, one Python object per record."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline.batch import Headers, Source
from pipeline.kafka.columnar.columns import (
    Appended,
    PartitionError,
    PartitionRecords,
    Polled,
    ProducerRecords,
    decode_headers,
    encode_headers,
)


class PlainConsumer:
    """Implements ``interface.BatchConsumer``. ``options`` are those of ``confluent_kafka.Consumer``."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._consumer = Consumer(dict(options))
        self._largest = 1

    def look_up(self, topic: str, timeout: float) -> None:
        """See ``BatchConsumer``."""
        self._consumer.list_topics(topic, timeout=timeout)

    def assign(self, positions: Mapping[Source, int]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.incremental_assign([TopicPartition(*source, offset) for source, offset in positions.items()])

    def unassign(self, sources: Collection[Source]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.incremental_unassign([TopicPartition(*source) for source in sources])

    def pause(self, sources: Collection[Source]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.pause([TopicPartition(*source) for source in sources])

    def resume(self, sources: Collection[Source]) -> None:
        """See ``BatchConsumer``."""
        self._consumer.resume([TopicPartition(*source) for source in sources])

    def poll(self, timeout: float, *, rows_max: int, bytes_max: int) -> Polled:
        """See ``BatchConsumer``."""
        # consume(n, t) waits the whole of t unless n records are there; poll returns with the first one.
        first = self._consumer.poll(timeout)
        found = [] if first is None else [first]
        rows: dict[Source, list[Message]] = {}
        ends: dict[Source, int] = {}
        errors: list[PartitionError] = []
        size, seen, n = 0, 1, 0
        while found:
            n += len(found)
            for message in found:
                error, partition = message.error(), message.partition()
                source = Source(message.topic() or "", -1 if partition is None else partition)
                if error is None:
                    rows.setdefault(source, []).append(message)
                    length = len(message.key() or b"") + len(message.value() or b"")
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

    def close(self) -> None:
        """See ``BatchConsumer``."""
        self._consumer.close()


class PlainProducer:
    """Implements ``interface.BatchProducer``."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    def append(self, records: ProducerRecords, first: int = 0) -> Appended:
        """See ``BatchProducer``."""
        produce, topic, row = self._producer.produce, records.topic, first
        some = records.slice(first, len(records))
        rows = zip(some.values.to_pylist(), some.keys.to_pylist(), some.partitions.tolist(), strict=True)
        try:
            if some.headers is None:  # a call with positional arguments costs two thirds of one with keywords
                for value, key, partition in rows:
                    produce(topic, value, key, partition)
                    row += 1
            else:
                for (value, key, partition), encoded in zip(rows, some.headers.to_pylist(), strict=True):
                    headers = [] if encoded is None else decode_headers(encoded)
                    produce(topic, value, key, partition, headers=headers)
                    row += 1
        except BufferError as error:
            return Appended(row, KafkaError(KafkaError._QUEUE_FULL, str(error)))
        except KafkaException as error:
            return Appended(row, error.args[0])
        return Appended(row, None)


def _records(source: Source, messages: list[Message], end: int) -> PartitionRecords:
    n = len(messages)
    offsets = np.fromiter(map(Message.offset, messages), np.int64, n)
    timestamps = np.fromiter((message.timestamp()[1] for message in messages), np.int64, n)
    headers = [_headers(message) for message in messages]
    return PartitionRecords(
        source,
        max(int(offsets[-1]) + 1 if n else 0, end),
        offsets,
        timestamps,
        pa.array(map(Message.key, messages), pa.large_binary(), size=n),
        pa.array(map(Message.value, messages), pa.large_binary(), size=n),
        pa.array(headers, pa.large_binary()) if any(headers) else None,
    )


def _headers(message: Message) -> bytes | None:
    """Return a record's headers, encoded; None if it has none, or one whose name is no text and stops the client."""
    try:
        headers: Headers | None = message.headers()
    except (SystemError, UnicodeDecodeError):
        return None
    return encode_headers(headers) if headers else None
