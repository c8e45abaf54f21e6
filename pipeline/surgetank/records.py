"""The value types of processing: TaskRecords as input, RecordBatch between the steps, OutputRecords as output.

All data is columnar. A row number refers to the same record from the start of its batch to its score or dead letter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from surgetank.header_views import JoinedHeaders, LaterHeaders

Headers = Sequence[tuple[str, bytes | None]]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

_NO_BYTES = np.zeros(0, dtype=np.uint8)
_NO_ROWS = np.zeros(0, dtype=np.int64)


def no_headers(_: int) -> Headers:
    """Return the headers of a row of records without headers."""
    return ()


def large_binary(values: Sequence[bytes | None]) -> pa.LargeBinaryArray:
    """Return values as a column; None is null, which is not the same as empty."""
    return pa.array(values, pa.large_binary())


def large_binary_of(ends: Int64s, data: "bytes | npt.NDArray[Any]") -> pa.LargeBinaryArray:
    """Return the n values that lie one after the other in ``data``: ``ends`` int64 [n + 1] begins with 0. No copy."""
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, buffers, null_count=0)


def value_bytes(column: pa.LargeBinaryArray) -> tuple[npt.NDArray[np.uint8], Int64s]:
    """Return the data of a column, uint8, and int64 [n + 1]: where each value starts in it. Values are not copied."""
    data = column.buffers()[2]
    return _NO_BYTES if data is None else np.frombuffer(data, np.uint8), _ends(column)


def byte_lengths(column: pa.LargeBinaryArray) -> Int64s:
    """Return int64 [n]: the length of each value, 0 for null."""
    return np.diff(_ends(column))


def payload_bytes(column: pa.LargeBinaryArray) -> int:
    """Return the bytes of all values of a column."""
    return int(column.total_values_length)


def _ends(column: pa.LargeBinaryArray) -> Int64s:
    """Return int64 [n + 1]: the start of each value in the column's data, and the end of the last one, in bytes."""
    offsets = column.buffers()[1]
    if offsets is None or not offsets.size:  # allowed for a column without values
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(offsets, np.int64, len(column) + 1, 8 * column.offset)


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


OutputPartition = tuple[str, int]  # a partition of an output topic


class TaskId(NamedTuple):
    """A unit of work: the source partitions with one partition number of one pipeline."""

    pipeline: str
    partition: int

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.partition}"


class TaskEpoch(NamedTuple):
    """A task in one of its epochs. Records and answers of an earlier epoch are stale."""

    task: TaskId
    epoch: int

    def __str__(self) -> str:
        return f"{self.task}@{self.epoch}"


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Contiguous records of one source partition, in offset order.

    ``next_offset`` is the offset to commit once all these records are processed: it is after the gaps and markers that
    follow the last record. There may be no records (only markers were read); then only ``next_offset`` matters.

    ``offsets`` is int64 [n]; ``arrived_ms`` is int64 [n], the record timestamps in milliseconds since the epoch, -1
    where a record has none. ``keys`` and ``values`` have n entries. ``headers_of(i)`` returns the headers of record i.
    ``header_bytes`` is int64 [n], the size of each record's headers; None if no record has any.
    """

    source: TopicPartition
    next_offset: int
    offsets: Int64s
    arrived_ms: Int64s
    keys: pa.LargeBinaryArray
    values: pa.LargeBinaryArray
    headers_of: Callable[[int], Headers] = field(repr=False, default=no_headers)
    header_bytes: Int64s | None = field(repr=False, default=None)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def payload_bytes(self) -> int:
        """The bytes of all keys, values and headers."""
        headers = 0 if self.header_bytes is None else int(self.header_bytes.sum())
        return payload_bytes(self.keys) + payload_bytes(self.values) + headers

    def rows_within(self, bytes_max: int) -> int:
        """Return how many of the first records have at most ``bytes_max`` bytes of keys, values and headers."""
        sizes = byte_lengths(self.keys) + byte_lengths(self.values)
        if self.header_bytes is not None:
            sizes += self.header_bytes
        return int(np.searchsorted(np.cumsum(sizes), bytes_max, side="right"))

    def split(self, rows: int) -> tuple["PartitionRecords", "PartitionRecords"]:
        """Return the first ``rows`` records and the rest, 0 < rows < n."""
        headers_of, header_bytes = self.headers_of, self.header_bytes
        head = PartitionRecords(
            self.source,
            int(self.offsets[rows]),
            self.offsets[:rows],
            self.arrived_ms[:rows],
            self.keys.slice(0, rows),
            self.values.slice(0, rows),
            headers_of,
            None if header_bytes is None else header_bytes[:rows],
        )
        tail = PartitionRecords(
            self.source,
            self.next_offset,
            self.offsets[rows:],
            self.arrived_ms[rows:],
            self.keys.slice(rows),
            self.values.slice(rows),
            headers_of if headers_of is no_headers else LaterHeaders(headers_of, rows),
            None if header_bytes is None else header_bytes[rows:],
        )
        return head, tail


@dataclass(frozen=True, slots=True)
class TaskRecords:
    """Records of source partitions of one task, all fetched in one epoch of that task."""

    task: TaskId
    epoch: int
    partitions: tuple[PartitionRecords, ...]

    def __len__(self) -> int:
        return sum(len(records) for records in self.partitions)

    @property
    def key(self) -> TaskEpoch:
        """The task and its epoch."""
        return TaskEpoch(self.task, self.epoch)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The undecoded records of several tasks, concatenated. All columns have the same n rows.

    ``source`` is int32 [n], an index into ``sources``; ``offsets`` and ``arrived_ms`` are int64 [n].
    """

    sources: tuple[TopicPartition, ...]
    source: npt.NDArray[np.int32]
    offsets: Int64s
    arrived_ms: Int64s
    keys: pa.LargeBinaryArray
    values: pa.LargeBinaryArray
    headers_of: Callable[[int], Headers] = field(repr=False, default=no_headers)

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def partitions(self) -> Int64s:
        """Return int64 [n]: the partition of each record."""
        return np.array([source.partition for source in self.sources], dtype=np.int64)[self.source]

    def of_topic(self, topic: str) -> npt.NDArray[np.int64]:
        """Return int64 [k], ascending: the rows of one topic."""
        ours = np.array([source.topic == topic for source in self.sources], dtype=np.bool_)
        return np.flatnonzero(ours[self.source]) if len(ours) else np.zeros(0, dtype=np.int64)

    def partitions_of(self, rows: Int64s) -> Int32s:
        """Return int32 [k]: the partition of each row's source. Its outputs go there, to keep the order by key."""
        numbers = np.array([source.partition for source in self.sources], dtype=np.int32)
        partitions: Int32s = numbers[self.source[rows]]
        return partitions

    @classmethod
    def of(cls, tasks: Sequence[TaskRecords], topic: str | None = None) -> "RecordBatch":
        """Concatenate the records of all tasks in the order given; with ``topic``, only the records of that topic."""
        return cls.of_partitions(
            [
                records
                for each in tasks
                for records in each.partitions
                if len(records) and topic in {None, records.source.topic}
            ]
        )

    @classmethod
    def of_partitions(cls, partitions: Sequence[PartitionRecords]) -> "RecordBatch":
        """Concatenate the records of some partitions in the order given."""
        sources = tuple(each.source for each in partitions)
        lengths = np.array([len(each) for each in partitions], dtype=np.int64)
        starts = np.concatenate(([0], np.cumsum(lengths))) if partitions else np.zeros(1, dtype=np.int64)
        some = any(each.headers_of is not no_headers for each in partitions)
        return cls(
            sources=sources,
            source=np.repeat(np.arange(len(partitions), dtype=np.int32), lengths),
            offsets=_joined([each.offsets for each in partitions]),
            arrived_ms=_joined([each.arrived_ms for each in partitions]),
            keys=joined([each.keys for each in partitions]),
            values=joined([each.values for each in partitions]),
            headers_of=JoinedHeaders([each.headers_of for each in partitions], starts) if some else no_headers,
        )


def row_ranges(tasks: Sequence[TaskRecords]) -> list[tuple[TaskEpoch, int, int]]:
    """Return the rows [first, end) of each task in the RecordBatch; omit tasks without records."""
    found, first = [], 0
    for records in tasks:
        end = first + len(records)
        if end > first:
            found.append((records.key, first, end))
        first = end
    return found


def joined(columns: Sequence[pa.LargeBinaryArray]) -> pa.LargeBinaryArray:
    """Return the concatenated values of the columns. A single column is returned unchanged."""
    if len(columns) == 1:
        return columns[0]
    return pa.concat_arrays(columns) if columns else large_binary([])


def _joined(columns: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    return np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)


class Step(StrEnum):
    """The step that dead-letters a record."""

    DECODE = "decode"
    FEATURES = "features"
    INFER = "infer"
    EMIT = "emit"


@dataclass(frozen=True, slots=True)
class DeadLetterReason:
    """Why a record is dead-lettered. Each step declares its reasons; ``processing/dead_letter_reasons.py`` lists all.

    ``label`` is its value in the metric ``events_dead`` and in the header of a dead letter; ``meaning`` is its
    description in the runbook DeadLetterShareHigh.
    """

    step: Step
    label: str
    meaning: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that will not be scored: its row in the RecordBatch, and the reason of the failure."""

    row: int
    reason: DeadLetterReason
    message: str

    @property
    def stage(self) -> Step:
        """The step that failed."""
        return self.reason.step

    @classmethod
    def of(cls, row: np.int64 | int, reason: DeadLetterReason, error: Exception) -> "DeadLetter":
        """Return the dead letter of a row for which a step raised an error."""
        return cls(int(row), reason, f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """Decoded events. ``columns`` has m rows; ``rows`` is int64 [m], their row numbers in ``records``.

    ``deletes`` is int64 [d]: the row numbers of facts that delete the row of their key. ``filtered`` is int64 [f]: the
    row numbers of the events that a condition of the declaration leaves out.
    """

    records: RecordBatch
    rows: npt.NDArray[np.int64]
    columns: pa.RecordBatch
    deletes: Int64s = field(default_factory=lambda: _NO_ROWS)
    filtered: Int64s = field(default_factory=lambda: _NO_ROWS)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class OutputRecords:
    """n records to produce to one topic: ``partitions`` int32 [n], ``keys`` and ``values`` with n entries.

    ``headers`` is None if no record has headers.
    """

    topic: str
    partitions: Int32s
    keys: pa.LargeBinaryArray
    values: pa.LargeBinaryArray
    headers: Sequence[Headers] | None = None

    def __len__(self) -> int:
        return len(self.partitions)

    def slice(self, start: int, stop: int) -> "OutputRecords":
        """Return rows [start, stop) as views that share memory with this object."""
        return OutputRecords(
            self.topic,
            self.partitions[start:stop],
            self.keys.slice(start, stop - start),
            self.values.slice(start, stop - start),
            None if self.headers is None else self.headers[start:stop],
        )


@dataclass(slots=True)
class StateChanges:
    """The changes of a batch to the state of tasks.

    Each of ``changelog_records`` is for one partition of a changelog. ``writes``: the last write of each task epoch.
    """

    changelog_records: list[OutputRecords] = field(default_factory=list)
    writes: dict[TaskEpoch, int] = field(default_factory=dict)


class ModelVersion(NamedTuple):
    """The name and the version of a model."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """The outputs of a batch of ``rows`` records: the records to produce, and the figures to count after the commit.

    ``outgoing`` includes dead letters and records sent again with another key, whose number by topic is ``rekeyed``.
    ``arrived_ms`` is int64 [n], the timestamps of the other events, in milliseconds since the epoch.
    """

    rows: int
    outgoing: tuple[OutputRecords, ...]
    dead: tuple[DeadLetter, ...]
    scored: int
    arrived_ms: Int64s
    changes: StateChanges = field(default_factory=StateChanges)
    rekeyed: Mapping[str, int] = field(default_factory=dict)
    on_committed: Callable[[], None] | None = None  # called once after the commit, in another thread; must not raise
