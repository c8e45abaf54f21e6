"""Recorded events of several topics, merged by event time, in columns.

A recording can be replayed beyond its end: the next lap has the same events with new ids and times.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.declaration import Events
from surgetank.errors import TopologyError
from surgetank.text_columns import as_key

# Encodes a record batch of those events: one value per row.
Encode = Callable[[Events, pa.RecordBatch], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive events of a recording, encoded for sending. All columns have the same number of rows.

    ``first`` is the position of the first event, counted across laps. ``kind`` is int8 [k], an index into the
    recording's ``events`` and ``topics``; ``time_ms`` is int64 [k], the event time in milliseconds since the epoch.
    ``values`` are encoded values.
    """

    first: int
    kind: npt.NDArray[np.int8]
    time_ms: npt.NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Recording:
    """n events of one lap, ordered by time.

    ``tables[k]`` holds the events of ``events[k]``, ordered by time. ``kind`` is int8 [n], the index k of each event;
    ``row`` is int32 [n], its row in that table; ``time_ms`` is int64 [n], its time in milliseconds since the epoch,
    sorted. ``lap_ms`` is added to every time once per lap.
    """

    events: tuple[Events, ...]
    tables: tuple[pa.Table, ...]
    kind: npt.NDArray[np.int8]
    time_ms: npt.NDArray[np.int64]
    row: npt.NDArray[np.int32]
    lap_ms: int

    @classmethod
    def merge(cls, parts: Sequence[tuple[Events, pa.Table]], *, lap: timedelta) -> "Recording":
        """Merge tables of events by time; ties are in the order of ``parts``, then of the rows.

        Raises ValueError if there are no events, or if ``lap`` is shorter than the recording.
        """
        tables, times = [], []
        for events, table in parts:
            moments = events.columns(table.schema).of(table)[events.time]
            time_ms = pc.cast(moments, pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64()).to_numpy()
            order = np.argsort(time_ms, kind="stable")
            tables.append(table.take(order).combine_chunks())
            times.append(time_ms[order])
        lengths = [len(part) for part in times]
        if not sum(lengths):
            raise ValueError("a recording needs at least one event")
        joined = np.concatenate(times)
        order = np.argsort(joined, kind="stable")
        lap_ms = lap // timedelta(milliseconds=1)
        if joined[order[-1]] - joined[order[0]] > lap_ms:
            raise ValueError(f"the recording lasts longer than its lap of {lap}; laps would overlap")
        return cls(
            events=tuple(events for events, _ in parts),
            tables=tuple(tables),
            kind=np.repeat(np.arange(len(lengths), dtype=np.int8), lengths)[order],
            time_ms=joined[order],
            row=np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])[order],
            lap_ms=lap_ms,
        )

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def topics(self) -> tuple[str, ...]:
        """The topic of each kind of event."""
        return tuple(events.topic for events in self.events)

    def to(self, topics: Mapping[str, str]) -> "Recording":
        """Return the recording with replaced topics; topics that are not in the mapping stay."""
        moved = tuple(replace(events, topic=topics.get(events.topic, events.topic)) for events in self.events)
        return replace(self, events=moved)

    def only(self, name: str) -> "Recording":
        """Return the events of one kind, given by its schema or its topic.

        Raises ValueError if the recording has no such kind.
        """
        for events, table in zip(self.events, self.tables, strict=True):
            if name in {events.schema, events.topic}:
                return Recording.merge([(events, table)], lap=timedelta(milliseconds=self.lap_ms))
        known = ", ".join(events.schema for events in self.events)
        raise ValueError(f"the recording has no events {name!r}; it has: {known}")

    def of(self, topics: Collection[str]) -> "Recording":
        """Return the events of some topics. Raises ValueError if there are none."""
        kept = [part for part in zip(self.events, self.tables, strict=True) if part[0].topic in topics]
        return Recording.merge(kept, lap=timedelta(milliseconds=self.lap_ms))

    def times(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return the event times of positions counted across laps: int64 [stop - start], in ms since the epoch."""
        lap, row = np.divmod(np.arange(start, stop, dtype=np.int64), len(self))
        times: npt.NDArray[np.int64] = self.time_ms[row] + lap * self.lap_ms
        return times

    def chunks(self, encode: Encode, *, count: int, rows: int = 8192, first: int = 0) -> Iterator[Chunk]:
        """Encode the events from number ``first`` to ``count`` - 1 across laps, in chunks of at most ``rows``.

        Raises TopologyError for a second lap of events whose id or times are fields of records.
        """
        while first < count:
            lap, start = divmod(first, len(self))
            stop = min(start + rows, len(self), start + count - first)
            yield self._chunk(encode, lap, start, stop)
            first += stop - start

    def _chunk(self, encode: Encode, lap: int, start: int, stop: int) -> Chunk:
        kind = self.kind[start:stop]
        keys: list[bytes | None] = [None] * len(kind)
        values: list[bytes] = [b""] * len(kind)
        for k, events in enumerate(self.events):
            rows = np.flatnonzero(kind == k)
            if not len(rows):
                continue
            # Each table is ordered by time too, so a range of the recording is a range of the table.
            batch = self._batch(k, int(self.row[start + rows[0]]), len(rows), lap)
            encoded = encode(events, batch)
            if len(encoded) != len(rows):
                raise ValueError(f"{len(rows)} events of {events.schema!r} were encoded to {len(encoded)} values")
            for row, value in zip(rows.tolist(), encoded, strict=True):
                values[row] = value
            if events.key is not None:
                field = events.columns(batch.schema).of(batch)[events.key]
                for row, key in zip(rows.tolist(), as_key(field).to_pylist(), strict=True):
                    keys[row] = key
        first = lap * len(self) + start
        return Chunk(first, kind, self.time_ms[start:stop] + lap * self.lap_ms, keys, values)

    def _batch(self, k: int, first: int, rows: int, lap: int) -> pa.RecordBatch:
        batch = self.tables[k].slice(first, rows).combine_chunks().to_batches()[0]
        if lap == 0:
            return batch
        events, lap_ms = self.events[k], lap * self.lap_ms
        for name in (events.id, events.time, *events.time_units):
            if name not in batch.schema.names:
                raise TopologyError(
                    f"events of {events.topic!r}: {name!r} is a field of a record, which stays the same in each lap; "
                    f"send at most {len(self)} events"
                )
        columns = []
        for field, column in zip(batch.schema, batch.columns, strict=True):
            if field.name == events.id:
                moved = pc.binary_join_element_wise(column, f"~{lap + 1}", "")
            elif pa.types.is_timestamp(field.type):
                moved = pc.add(column, pa.scalar(timedelta(milliseconds=lap_ms))).cast(field.type)
            elif (unit := events.time_units.get(field.name)) is not None:
                ticks = pa.scalar(timedelta(milliseconds=lap_ms)).cast(pa.duration(unit), safe=False).cast(pa.int64())
                moved = pc.add(column.cast(pa.int64()), ticks).cast(field.type)
            else:
                moved = column
            columns.append(moved)
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
