"""What a pipeline remembers, batch by batch: rows are read, advanced in event order and written, all keys at once.

An event that decodes changes state, whatever becomes of it afterwards: also if its model call fails. So the state after
a batch depends on the records alone, and a replay gives the same. The facts and events of a task are taken in the order
in which they arrived; ``_Feed`` is the place where another order would be made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.declaration import PREDICTIONS, Pipeline
from pipeline.errors import StateClosed, StateCorrupt, StateDamaged
from pipeline.features.row_layout import NEWEST_TIME
from pipeline.features.spec import Float64s
from pipeline.features.tables import TableState
from pipeline.features.windows import advance, plausible
from pipeline.records import (
    DecodedBatch,
    OutputRecords,
    RecordBatch,
    StateChanges,
    TaskEpoch,
    TaskId,
    TaskRecords,
    large_binary,
    row_ranges,
)
from pipeline.settings import StateSettings
from pipeline.state.changelog import RESERVED_KEYS, TABLE_VERSION, TableVersion
from pipeline.state.predictions import FRESH, PREDICTION, predictions
from pipeline.state.row_serde import FixedWidthSerde, Rows, RowSerde
from pipeline.state.sparse_serde import SparseSerde
from pipeline.state.store_identity import TableSignature
from pipeline.state.table import TableWrite
from pipeline.state.tables import TaskTables
from pipeline.telemetry.metrics import Metrics

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HOUR_MS = 3_600_000
# Rows are forgotten only when no event is expected that is so much older than the newest one: a day late, beside a
# clock that runs ahead as far as it may.
LATE_MS = 24 * HOUR_MS

_PER_MS = {"s": 1 / 1000, "ms": 1, "us": 1_000, "ns": 1_000_000}


class StateStores(Protocol):
    """Where the tables of the running tasks are."""

    def tables(self, task_epoch: TaskEpoch) -> TaskTables | None:
        """Return the tables of a task in one of its epochs; None if that is over."""
        ...


class _Piece(NamedTuple):
    """The part of a feed that is of one task: entries [start, stop), and its distinct keys from row ``base`` on."""

    task_epoch: TaskEpoch
    start: int
    stop: int
    base: int
    keys: list[bytes]


class _Feed:
    """What the tables with the same facts see of a batch, in the order in which it is taken.

    ``rows`` int64 [n] are row numbers in Records, and by entry: ``key`` (a row of the state matrix, -1: none),
    ``times_ms``, ``reads`` and ``writes``. ``own`` are the entries of the events, in their order; ``fed`` those that
    the columns of ``batch`` belong to.
    """

    def __init__(
        self,
        records: RecordBatch,
        pieces: Sequence[tuple[TaskEpoch, int, int]],
        events: DecodedBatch,
        events_time: str,
        facts: tuple[DecodedBatch, str] | None,
        believes: Callable[[Int64s, Int64s], Bools],
    ) -> None:
        times, known = milliseconds(events.columns.column(events_time))
        self.batch = events
        if facts is None:
            self.rows = events.rows
            self.own = self.fed = np.arange(len(events), dtype=np.int64)
            self.reads = np.ones(len(events), dtype=np.bool_)
        else:
            self.batch, name = facts
            fact_times, fact_known = milliseconds(self.batch.columns.column(name))
            rows = np.concatenate([events.rows, self.batch.rows])
            order = np.argsort(rows, kind="stable")  # as they arrived
            self.rows = rows[order]
            self.reads = order < len(events)
            self.own, self.fed = np.flatnonzero(self.reads), np.flatnonzero(~self.reads)
            times, known = np.concatenate([times, fact_times])[order], np.concatenate([known, fact_known])[order]
        self.times_ms = times
        self.pieces = list(self._pieces(records, pieces))
        self.key = self._key_index(known)
        fed = np.zeros(len(self.rows), dtype=np.bool_)
        fed[self.fed] = True
        self.writes = fed & believes(times, records.arrived_ms[self.rows])
        self.implausible = int((fed & ~self.writes).sum())

    def values(self, memory: TableState) -> Float64s:
        """Return float64 [n, V], NaN for what does not feed the table."""
        numbers = memory.numbers(self.batch.columns)
        if len(self.fed) == len(self.rows):
            return numbers
        values = np.full((len(self.rows), numbers.shape[1]), np.nan)
        values[self.fed] = numbers
        return values

    def _pieces(self, records: RecordBatch, pieces: Sequence[tuple[TaskEpoch, int, int]]) -> Iterator[_Piece]:
        base = 0
        self._indices: list[npt.NDArray[np.int64]] = []
        for task_epoch, first, end in pieces:
            start, stop = np.searchsorted(self.rows, (first, end)).tolist()
            if start == stop:
                continue
            if stop - start == end - first:
                keys = records.keys.slice(first, end - first).to_pylist()
            else:
                keys = records.keys.take(pa.array(self.rows[start:stop])).to_pylist()
            index: dict[bytes | None, int] = dict.fromkeys(keys, -1)
            distinct = cast("list[bytes]", [key for key in index if key not in RESERVED_KEYS])
            index.update(zip(distinct, range(base, base + len(distinct)), strict=True))
            self._indices.append(np.fromiter(map(index.__getitem__, keys), np.int64, len(keys)))
            yield _Piece(task_epoch, start, stop, base, distinct)
            base += len(distinct)

    def _key_index(self, known: Bools) -> Int64s:
        key = np.concatenate(self._indices) if self._indices else np.zeros(0, dtype=np.int64)
        return key if known.all() else np.where(known, key, -1)


class StatefulFeatures:
    """The memory of one pipeline. For the flow's thread; raises StateClosed where a task was given up or went back
    meanwhile: nothing of the batch may be committed then. StateDamaged says whose disk is."""

    def __init__(
        self, pipeline: Pipeline, shelf: StateStores, settings: StateSettings, *, model_version: str, metrics: Metrics
    ) -> None:
        self._events_time = pipeline.events.time
        self._memories = pipeline.memories
        self._changelogs = pipeline.changelogs
        self._meanings = {table: meaning.dump() for table, meaning in table_versions(pipeline).items()}
        self._told: set[tuple[TaskEpoch, str]] = set()
        self._shelf = shelf
        self._believes = plausible_times(settings)
        self._model_version = model_version
        self._metrics = metrics
        self._forget_rows = settings.forget_rows
        self._slack_ms = LATE_MS + round(settings.future_hours_max * HOUR_MS)
        self._newest: dict[tuple[TaskId, str], float] = {}  # the greatest event time in a table's rows, by task
        self._expired = _expiries(pipeline)
        self._turn = 0
        predictions(np.zeros(0), np.zeros(0, dtype=np.int64), 0, model_version)  # a name that is too long is told now

    def remember(
        self,
        slices: Sequence[TaskRecords],
        records: RecordBatch,
        events: DecodedBatch,
        facts: Mapping[str, DecodedBatch],
        changes: StateChanges,
    ) -> dict[str, Float64s]:
        """Take a batch through all tables of features; return float64 [m] for each statistic, for the m events."""
        pieces = row_ranges(slices)
        feeds: dict[str | None, _Feed] = {}
        seen: dict[str, Float64s] = {}
        for memory in self._memories:
            source = memory.table.facts
            topic = None if source is None else source.topic
            if topic not in feeds:
                fed_by = None if source is None or topic is None else (facts[topic], source.time)
                feed = feeds[topic] = _Feed(records, pieces, events, self._events_time, fed_by, self._believes)
                self._metrics.implausible_times.add(feed.implausible)
            seen |= self._advance(memory, feeds[topic], records, changes)
        if pieces and self._forget_rows and self._expired:
            self._forget(pieces, changes)
        return seen

    def keep(
        self,
        slices: Sequence[TaskRecords],
        records: RecordBatch,
        rows: Int64s,
        scores: npt.NDArray[np.float64],
        times: pa.Array,
        scored_ms: int,
        changes: StateChanges,
    ) -> None:
        """Note the last score of each key: ``rows`` int64 [k], rising, have ``scores`` [k] and event ``times`` [k]."""
        if PREDICTIONS not in self._changelogs:
            return
        event_ms, _ = milliseconds(times)
        for task_epoch, first, end in row_ranges(slices):
            start, stop = np.searchsorted(rows, (first, end)).tolist()
            last = dict(zip(records.keys.take(pa.array(rows[start:stop])).to_pylist(), range(start, stop), strict=True))
            last = {key: row for key, row in last.items() if key not in RESERVED_KEYS}
            if not last:
                continue
            at = np.fromiter(last.values(), np.int64, len(last))
            kept = predictions(scores[at], event_ms[at], scored_ms, self._model_version)
            keys = cast("list[bytes]", list(last))
            self._write(task_epoch, PREDICTIONS, keys, kept, records.offsets[rows[at]], changes)
            self._noted(task_epoch, PREDICTIONS, float(event_ms[at].max()))

    def committed(self, task_epoch: TaskEpoch) -> dict[str, int]:
        """Return by topic the offset up to which the tables of a task are on the disk: that of the next record."""
        with _of(task_epoch):
            return self._tables(task_epoch).store.positions()

    def _advance(
        self, memory: TableState, feed: _Feed, records: RecordBatch, changes: StateChanges
    ) -> dict[str, Float64s]:
        name = memory.table.name
        found = [self._read(piece.task_epoch, name, piece.keys) for piece in feed.pieces]
        rows = np.concatenate([memory.layout.rows(0), *found]) if len(found) != 1 else found[0]
        results, late = advance(
            memory.layout, rows, feed.key, feed.times_ms, feed.values(memory), feed.reads, feed.writes
        )
        if late:
            self._metrics.late_events.add(late, table=name)
        writing = np.flatnonzero(feed.writes & (feed.key >= 0))
        offsets = np.full(len(rows), -1, dtype=np.int64)
        offsets[feed.key[writing]] = records.offsets[feed.rows[writing]]  # of one key the last counts
        for piece in feed.pieces:
            changed = piece.base + np.flatnonzero(offsets[piece.base : piece.base + len(piece.keys)] >= 0)
            if len(changed):
                new = rows[changed]
                keys = [piece.keys[at] for at in (changed - piece.base).tolist()]
                self._write(piece.task_epoch, name, keys, new, offsets[changed], changes)
                self._noted(piece.task_epoch, name, float(new[:, NEWEST_TIME].max()))
        return {each.name: results[feed.own, at] for at, each in enumerate(memory.aggregates)}

    def _read(self, task_epoch: TaskEpoch, name: str, keys: list[bytes]) -> Rows:
        with _of(task_epoch):
            return self._tables(task_epoch)[name].read(keys)

    def _write(
        self, task_epoch: TaskEpoch, name: str, keys: list[bytes], rows: Rows, offsets: Int64s, changes: StateChanges
    ) -> None:
        with _of(task_epoch):
            written = self._tables(task_epoch)[name].write(keys, rows, offsets, task_epoch[1])
        if written is None:
            raise StateClosed(f"task {task_epoch[0]} went back while its batch was computed")
        self._changed(written, task_epoch, changes)

    def _changed(self, written: TableWrite, task_epoch: TaskEpoch, changes: StateChanges) -> None:
        keys, values = written.keys, written.values
        if (task_epoch, written.table) not in self._told:  # the first burst of an epoch says what the rows mean
            self._told.add((task_epoch, written.table))
            keys, values = [TABLE_VERSION, *keys], [self._meanings[written.table], *values]
        changes.bursts.append(
            OutputRecords(
                self._changelogs[written.table],
                np.full(len(keys), task_epoch[0].partition, dtype=np.int32),
                large_binary(keys),
                large_binary(values),
            )
        )
        changes.writes[task_epoch] = written.number

    def _noted(self, task_epoch: TaskEpoch, name: str, time_ms: float) -> None:
        self._newest[task_epoch[0], name] = max(time_ms, self._newest.get((task_epoch[0], name), time_ms))

    def _forget(self, pieces: Sequence[tuple[TaskEpoch, int, int]], changes: StateChanges) -> None:
        """Look at some rows of one table of one task, in turn: that bounds what a batch pays for it."""
        choices = [(task_epoch, name) for task_epoch, _, _ in pieces for name in self._expired]
        self._turn += 1
        task_epoch, name = choices[self._turn % len(choices)]
        newest = self._newest.get((task_epoch[0], name))
        if newest is None:
            return
        expired, now_ms = self._expired[name], int(newest) - self._slack_ms
        with _of(task_epoch):
            written = self._tables(task_epoch)[name].expire(
                lambda rows: expired(rows, now_ms), self._forget_rows, task_epoch[1]
            )
        if written is not None:
            self._changed(written, task_epoch, changes)

    def _tables(self, task_epoch: TaskEpoch) -> TaskTables:
        tables = self._shelf.tables(task_epoch)
        if tables is None:
            raise StateClosed(f"task {task_epoch[0]} went back or was given up while its batch was computed")
        return tables


def plausible_times(settings: StateSettings) -> Callable[[Int64s, Int64s], Bools]:
    """Return what tells which event times, int64 [n] beside the arrivals, may change state."""
    past_ms, future_ms = round(settings.past_days_max * 24 * HOUR_MS), round(settings.future_hours_max * HOUR_MS)
    return lambda times, arrived: plausible(times, arrived, past_ms, future_ms)


def row_serdes(pipeline: Pipeline) -> tuple[dict[str, RowSerde], dict[str, TableSignature]]:
    """Return how the rows of each table of a pipeline are stored, and what tells one meaning of them from another."""
    found: dict[str, RowSerde] = {}
    shapes: dict[str, TableSignature] = {}
    for memory in pipeline.memories:
        found[memory.table.name] = SparseSerde(memory.layout.fresh)
        shapes[memory.table.name] = TableSignature(found[memory.table.name].size, memory.layout.fingerprint())
    if pipeline.keeps_predictions:
        found[PREDICTIONS] = FixedWidthSerde(PREDICTION, FRESH)
        shapes[PREDICTIONS] = TableSignature(found[PREDICTIONS].size, str(PREDICTION.descr))
    return found, shapes


def table_versions(pipeline: Pipeline) -> dict[str, TableVersion]:
    """Return what the rows of each table of a pipeline mean, as changelogs say it."""
    shapes = row_serdes(pipeline)[1]
    declared = {memory.table.name: memory.layout.declaration() for memory in pipeline.memories}
    return {table: TableVersion(shape.fingerprint, declared.get(table)) for table, shape in shapes.items()}


def predictions_ms(pipeline: Pipeline) -> int | None:
    """Return how long the last score of a key is kept, in ms of event time: as the longest table; None: for ever."""
    spans = [memory.layout.retention_ms for memory in pipeline.memories]
    kept = [span for span in spans if span is not None]
    return max(kept) if pipeline.keeps_predictions and kept and len(kept) == len(spans) else None


def _expiries(pipeline: Pipeline) -> dict[str, Callable[[Rows, int], Bools]]:
    """Return how to tell, of the tables that forget, which rows no event from a time (ms) on can make use of."""
    found: dict[str, Callable[[Rows, int], Bools]] = {
        memory.table.name: memory.layout.expired
        for memory in pipeline.memories
        if memory.layout.retention_ms is not None
    }
    longest = predictions_ms(pipeline)
    if longest is not None:
        found[PREDICTIONS] = lambda rows, now_ms: rows["event_ms"] < now_ms - longest
    return found


@contextmanager
def _of(task_epoch: TaskEpoch) -> Iterator[None]:
    """Say whose state it was that could not be used."""
    try:
        yield
    except StateCorrupt as error:
        raise StateDamaged(str(error), task_epoch[0].partition) from error


def milliseconds(times: pa.Array) -> tuple[Int64s, Bools]:
    """Return int64 [n], 0 for null, and bool [n], which are not null."""
    known = times.is_valid().to_numpy(zero_copy_only=False)
    ticks = times.view(pa.int64())
    found = (ticks.fill_null(0) if ticks.null_count else ticks).to_numpy(zero_copy_only=False)
    each = _PER_MS[times.type.unit]
    return (found * 1000 if each < 1 else found if each == 1 else found // each), known
