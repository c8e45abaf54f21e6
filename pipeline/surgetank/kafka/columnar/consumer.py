"""A batch consumer on librdkafka's C API with one handle and one queue, which returns columns."""

import ctypes
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate

import numpy as np
import pyarrow as pa

from surgetank.kafka.columnar import walk
from surgetank.kafka.columnar.library import (
    CONF_OK,
    CONSUMER,
    LIBRARY,
    MESSAGE,
    LibraryUnavailableError,
    kafka_error,
    raise_for_code,
    raise_for_error,
)
from surgetank.kafka.columnar.results import POLL_INTERRUPTED, PartitionError, Polled
from surgetank.record_headers import EncodedHeaders
from surgetank.records import Headers, Int64s, PartitionRecords, TopicPartition, no_headers

Option = str | int | float | bool
ROWS_MAX = 16_384  # per poll
_ERROR_TEXT_BYTES = 512
_ALIGNMENT = 64  # of each column in a partition's block, as Arrow recommends


class ColumnarConsumer:
    """Implements ``interface.BatchConsumer``.

    ``options`` are librdkafka's names and values. There are no callbacks: ``poll`` also returns errors that concern no
    partition. Raises LibraryUnavailableError where librdkafka rejects an option, and KafkaException where it fails to
    start.
    """

    def __init__(self, options: Mapping[str, Option]) -> None:
        self._handle: int | None = _new(options)
        LIBRARY.rd_kafka_poll_set_consumer(self._handle)
        self._queue: int = LIBRARY.rd_kafka_queue_get_consumer(self._handle)
        self._interrupted = False  # whether a poll began whose result is not complete
        self._messages = np.zeros(ROWS_MAX, dtype=np.int64)
        self._taken = np.zeros(1, dtype=np.int64)
        self._fields = np.zeros(ROWS_MAX, dtype=MESSAGE)
        self._group_of = np.zeros(ROWS_MAX, dtype=np.int32)
        self._groups = np.zeros((ROWS_MAX, walk.GROUP_COLUMNS), dtype=np.int64)
        self._scratch = np.zeros(5, dtype=np.int64)
        self._largest = 1

    def look_up(self, topic: str, timeout: float) -> None:
        """See ``BatchConsumer``."""
        known = LIBRARY.rd_kafka_topic_new(self._handle, topic.encode(), None)
        if known is None:
            raise_for_code(LIBRARY.rd_kafka_last_error())
        metadata = ctypes.c_void_p()
        try:
            code = LIBRARY.rd_kafka_metadata(self._handle, 0, known, ctypes.byref(metadata), round(timeout * 1000))
            raise_for_code(code)
            LIBRARY.rd_kafka_metadata_destroy(metadata)
        finally:
            LIBRARY.rd_kafka_topic_destroy(known)

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """See ``BatchConsumer``."""
        with _partition_list(positions) as partitions:
            for source, offset in positions.items():
                raise_for_code(
                    LIBRARY.rd_kafka_topic_partition_list_set_offset(
                        partitions, source.topic.encode(), source.partition, offset
                    )
                )
            raise_for_error(LIBRARY.rd_kafka_incremental_assign(self._handle, partitions))

    def unassign(self, sources: Collection[TopicPartition]) -> None:
        """See ``BatchConsumer``."""
        with _partition_list(sources) as partitions:
            raise_for_error(LIBRARY.rd_kafka_incremental_unassign(self._handle, partitions))

    def pause(self, sources: Collection[TopicPartition]) -> None:
        """See ``BatchConsumer``."""
        with _partition_list(sources) as partitions:
            raise_for_code(LIBRARY.rd_kafka_pause_partitions(self._handle, partitions))

    def resume(self, sources: Collection[TopicPartition]) -> None:
        """See ``BatchConsumer``."""
        with _partition_list(sources) as partitions:
            raise_for_code(LIBRARY.rd_kafka_resume_partitions(self._handle, partitions))

    def poll(self, timeout: float, *, rows_max: int, bytes_max: int) -> Polled:
        """See ``BatchConsumer``."""
        if self._handle is None:
            raise RuntimeError("the consumer is closed")
        if self._interrupted:
            raise RuntimeError(POLL_INTERRUPTED)
        self._interrupted = True
        polled = self._poll(timeout, rows_max, bytes_max)
        self._interrupted = False
        return polled

    def close(self) -> None:
        """See ``BatchConsumer``."""
        handle, self._handle = self._handle, None
        if handle is not None:
            walk.destroy(self._messages, self._taken)  # rd_kafka_destroy waits until all are
            LIBRARY.rd_kafka_consumer_close(handle)
            LIBRARY.rd_kafka_queue_destroy(self._queue)
            LIBRARY.rd_kafka_destroy(handle)

    def _poll(self, timeout: float, rows_max: int, bytes_max: int) -> Polled:
        """Take messages and copy them out. Where an exception ends this, ``close`` destroys the messages."""
        n, _, self._largest = walk.take(
            self._queue,
            round(timeout * 1000),
            self._messages,
            self._taken,
            self._fields,
            min(rows_max, ROWS_MAX),
            bytes_max,
            self._largest,
            self._scratch,
        )
        if n == 0:
            return Polled([], [], 0)
        count = walk.group(self._messages, self._fields, n, self._group_of, self._groups, self._scratch)
        errors = self._errors(n)
        blocks = [_Block(group) for group in self._groups[:count].tolist()]
        places = np.array([block.places for block in blocks], dtype=np.int64).reshape(-1, walk.PLACE_COLUMNS)
        walk.copy_out(
            self._messages, self._taken, self._fields, self._group_of, self._groups, count, places, self._scratch
        )
        return Polled([block.records() for block in blocks], errors, sum(block.rows for block in blocks))

    def _errors(self, n: int) -> list[PartitionError]:
        """Return the errors among n messages that are not yet destroyed."""
        found = []
        for i in np.flatnonzero(self._group_of[:n] == walk.ERROR_GROUP).tolist():
            message = self._fields[i]
            topic = LIBRARY.rd_kafka_topic_name(int(message["topic"])).decode() if message["topic"] else ""
            text = (LIBRARY.rd_kafka_message_errstr(int(self._messages[i])) or b"").decode(errors="replace")
            source = TopicPartition(topic, int(message["partition"]))
            found.append(PartitionError(source, kafka_error(int(message["error"]), text)))
        return found


class _Block:
    """The columns of one partition in one block of memory, so a reference to them keeps no other partition's memory."""

    def __init__(self, group: list[int]) -> None:
        topic, partition, rows, value_bytes, key_bytes, header_bytes, self._end, *self._nulls = group
        self.source = TopicPartition(LIBRARY.rd_kafka_topic_name(topic).decode(), partition)
        self.rows = rows
        ends, bitmap = 8 * (rows + 1), (rows + 7) // 8
        header_ends, header_bitmap = (ends, bitmap) if header_bytes else (0, 0)
        self._sizes = (  # in the order of walk.AT_OFFSETS to walk.AT_HEADERS
            *(8 * rows, 8 * rows, ends, ends, header_ends),
            *(bitmap, bitmap, header_bitmap, value_bytes, key_bytes, header_bytes),
        )
        *self._starts, size = accumulate((-(-size // _ALIGNMENT) * _ALIGNMENT for size in self._sizes), initial=0)
        self._memory = pa.allocate_buffer(size)
        self.places = [self._memory.address + start for start in self._starts]

    def records(self) -> PartitionRecords:
        """Return the copied records."""
        offsets, timestamps = self._int64s(walk.AT_OFFSETS), self._int64s(walk.AT_TIMESTAMPS)
        null_values, null_keys = self._nulls
        headers_of: Callable[[int], Headers] = no_headers
        header_bytes = None
        if self._sizes[walk.AT_HEADERS]:
            ends: Int64s = np.frombuffer(self._memory, np.int64, self.rows + 1, self._starts[walk.AT_HEADER_OFFSETS])
            header_bytes = ends[1:] - ends[:-1]
            headers_of = EncodedHeaders(
                self._column(walk.AT_HEADER_OFFSETS, walk.AT_HEADER_VALIDITY, walk.AT_HEADERS, nulls=-1)
            )
        return PartitionRecords(
            self.source,
            max(int(offsets[-1]) + 1 if self.rows else 0, self._end),
            offsets,
            timestamps,
            self._column(walk.AT_KEY_OFFSETS, walk.AT_KEY_VALIDITY, walk.AT_KEYS, null_keys),
            self._column(walk.AT_VALUE_OFFSETS, walk.AT_VALUE_VALIDITY, walk.AT_VALUES, null_values),
            headers_of,
            header_bytes,
        )

    def _int64s(self, place: int) -> Int64s:
        return np.frombuffer(self._memory, np.int64, self.rows, self._starts[place])

    def _column(self, offsets: int, validity: int, data: int, nulls: int) -> pa.LargeBinaryArray:
        """Return a column; ``nulls`` is the number of nulls, -1 if it is not known."""
        bitmap = self._part(validity) if nulls else None
        buffers = [bitmap, self._part(offsets), self._part(data)]
        return pa.LargeBinaryArray.from_buffers(pa.large_binary(), self.rows, buffers, null_count=nulls)

    def _part(self, place: int) -> pa.Buffer:
        return self._memory.slice(self._starts[place], self._sizes[place])


def _new(options: Mapping[str, Option]) -> int:
    text = ctypes.create_string_buffer(_ERROR_TEXT_BYTES)
    conf = LIBRARY.rd_kafka_conf_new()
    for name, value in options.items():
        said = ("true" if value else "false") if isinstance(value, bool) else str(value)
        if LIBRARY.rd_kafka_conf_set(conf, name.encode(), said.encode(), text, len(text)) != CONF_OK:
            LIBRARY.rd_kafka_conf_destroy(conf)
            raise LibraryUnavailableError(f"librdkafka refuses an option: {text.value.decode(errors='replace')}")
    handle: int | None = LIBRARY.rd_kafka_new(CONSUMER, conf, text, len(text))
    if handle is None:  # on success the handle owns the configuration
        LIBRARY.rd_kafka_conf_destroy(conf)
        raise LibraryUnavailableError(f"librdkafka refuses to start: {text.value.decode(errors='replace')}")
    return handle


@contextmanager
def _partition_list(sources: Collection[TopicPartition]) -> Iterator[int]:
    partitions = LIBRARY.rd_kafka_topic_partition_list_new(len(sources))
    try:
        for source in sources:
            LIBRARY.rd_kafka_topic_partition_list_add(partitions, source.topic.encode(), source.partition)
        yield partitions
    finally:
        LIBRARY.rd_kafka_topic_partition_list_destroy(partitions)
