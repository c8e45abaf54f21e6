"""The events of files as records of one task, in the order in which a worker would have received them.

A file has no offsets, keys or arrival times. An offset is the number of the event in its file, after those of earlier
files of the same state. A key repeats the key field, as that of the topic should. The order of several files is that of
an arrival time if a column has it, else of the event time; within a file it is always that of the file. At equal times
events come before facts, as in ``surgetank.offline.history``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from surgetank.codec.base import Deserializer
from surgetank.declaration import Events
from surgetank.edge.input_file import EventFile
from surgetank.errors import TopologyError
from surgetank.processing.event_sequence import milliseconds
from surgetank.records import Int64s, PartitionRecords, RecordBatch, TopicPartition
from surgetank.text_columns import as_key

PARTITION, EPOCH = 0, 1  # of the only task of a run
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class _Part:
    """n consecutive events of a file; ``order_ms``, int64 [n], never falls, also from part to part."""

    values: pa.LargeBinaryArray
    keys: pa.LargeBinaryArray
    arrived_ms: Int64s
    order_ms: Int64s

    def __len__(self) -> int:
        return len(self.values)


class SourceRecords:
    """The events of one file as records of one partition of a topic, from offset ``first`` on.

    ``keyed``: whether keys and times are needed, as for state; then events are decoded for these once more.
    ``arrived`` names the column with the arrival time; None: every event arrives at ``now_ms``. Raises TopologyError if
    the column is not there or no timestamp.
    """

    def __init__(
        self, events: Events, file: EventFile, *, first: int, keyed: bool, arrived: str | None, now_ms: int
    ) -> None:
        self.source = TopicPartition(events.topic, PARTITION)
        self.next_offset = first
        self._events = events
        self._file = file
        self._keyed = keyed
        self._arrived = arrived
        self._now_ms = now_ms
        self._latest_ms = int(_NEVER)
        if arrived is not None:
            _check_time(arrived, file.deserializer.schema, events.topic)

    def parts(self) -> Iterator[_Part]:
        """Yield the events in their order."""
        for values in self._file.values():
            yield self._keyed_part(values) if self._keyed else _Part(values, _no_keys(values), *self._untimed(values))

    def records(self, part: _Part, start: int, stop: int) -> PartitionRecords:
        """Return the events [start, stop) of a part as the next records."""
        first, self.next_offset = self.next_offset, self.next_offset + stop - start
        return PartitionRecords(
            self.source,
            self.next_offset,
            np.arange(first, self.next_offset),
            part.arrived_ms[start:stop],
            part.keys.slice(start, stop - start),
            part.values.slice(start, stop - start),
        )

    def _untimed(self, values: pa.LargeBinaryArray) -> tuple[Int64s, Int64s]:
        return np.full(len(values), self._now_ms), np.zeros(len(values), dtype=np.int64)

    def _keyed_part(self, values: pa.LargeBinaryArray) -> _Part:
        """Return a part with keys and times. An event that cannot be decoded has no key, and the time before it."""
        arrived_ms, order_ms = self._untimed(values)
        rows, columns = _decoded(self._file.deserializer, self.source, values)
        keys = _no_keys(values)
        if self._events.key is not None and len(rows):
            place = np.full(len(values), -1)
            place[rows] = np.arange(len(rows))
            found = as_key(columns[self._events.key]).cast(pa.large_binary())
            keys = found.take(pa.array(place, mask=place < 0))
        times, known = milliseconds(columns[self._arrived or self._events.time])
        order_ms[:] = _NEVER
        order_ms[rows[known]] = times[known]
        if self._arrived is not None:
            arrived_ms[:] = -1
            arrived_ms[rows[known]] = times[known]
        order_ms = np.maximum.accumulate(np.maximum(order_ms, self._latest_ms))
        self._latest_ms = int(order_ms[-1])
        return _Part(values, keys, arrived_ms, order_ms)


def batches(sources: Sequence[SourceRecords], rows_max: int) -> Iterator[list[PartitionRecords]]:
    """Yield the records of all sources in the order of their arrival, up to ``rows_max`` at a time.

    ``sources`` are in the order that equal times have.
    """
    if len(sources) == 1:
        for part in sources[0].parts():
            for start in range(0, len(part), rows_max):
                yield [sources[0].records(part, start, min(start + rows_max, len(part)))]
        return
    waiting = [_Waiting(source) for source in sources]
    while live := [each for each in waiting if each.filled()]:
        # The part that ends first holds all others back: what follows it may come before the rest of them.
        last = min(live, key=lambda each: int(each.part.order_ms[-1]))
        border_ms, before = int(last.part.order_ms[-1]), True
        taken: list[tuple[_Waiting, int, int]] = []
        for each in live:
            before = before and each is not last
            side = "right" if before or each is last else "left"
            stop = int(np.searchsorted(each.part.order_ms, border_ms, side=side))  # type: ignore[call-overload]
            taken.append((each, each.start, max(stop, each.start)))
            each.start = max(stop, each.start)
        yield from _interleaved(taken, rows_max)


class _Waiting:
    """The part of a source whose events from ``start`` on were not yielded yet."""

    def __init__(self, source: SourceRecords) -> None:
        self.source = source
        self._parts = source.parts()
        self.part = _Part(_NOTHING, _NOTHING, _NO_TIMES, _NO_TIMES)
        self.start = 0

    def filled(self) -> bool:
        """Take the next part if nothing waits; return whether something waits."""
        while self.start == len(self.part):
            following = next(self._parts, None)
            if following is None:
                return False
            self.part, self.start = following, 0
        return True


def _interleaved(taken: Sequence[tuple[_Waiting, int, int]], rows_max: int) -> Iterator[list[PartitionRecords]]:
    """Yield rows [start, stop) of some sources by their times, as runs of rows of one source."""
    order = np.concatenate([each.part.order_ms[start:stop] for each, start, stop in taken])
    of = np.repeat(np.arange(len(taken)), [stop - start for _, start, stop in taken])[np.argsort(order, kind="stable")]
    edges = np.union1d(np.flatnonzero(np.diff(of)) + 1, np.arange(0, len(of), rows_max))
    runs = [*edges.tolist(), len(of)]
    at = [start for _, start, _ in taken]
    batch: list[PartitionRecords] = []
    for begin, end in pairwise(runs):
        number = int(of[begin])
        each, size = taken[number][0], end - begin
        if batch and begin % rows_max == 0:
            yield batch
            batch = []
        batch.append(each.source.records(each.part, at[number], at[number] + size))
        at[number] += size
    if batch:
        yield batch


def _decoded(
    deserializer: Deserializer, source: TopicPartition, values: pa.LargeBinaryArray
) -> tuple[Int64s, pa.RecordBatch]:
    """Return the rows that can be decoded, int64 [m], ascending, and their columns."""
    none = np.zeros(len(values), dtype=np.int64)
    records = PartitionRecords(source, 0, none, none, _no_keys(values), values)
    batch, _ = deserializer.deserialize(RecordBatch.of_partitions([records]))
    return batch.rows, batch.columns


def _no_keys(values: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    return pa.nulls(len(values), pa.large_binary())


def _check_time(name: str, schema: pa.Schema, topic: str) -> None:
    if name not in schema.names:
        raise TopologyError(f"the events of {topic!r} have no column {name!r}; they have: {', '.join(schema.names)}")
    if not pa.types.is_timestamp(schema.field(name).type):
        raise TopologyError(f"column {name!r} of {topic!r} is {schema.field(name).type}; it must be a timestamp")


_NOTHING = pa.nulls(0, pa.large_binary())
_NO_TIMES = np.zeros(0, dtype=np.int64)
