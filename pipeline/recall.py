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

from pipeline.batch import Batch, Changes, Life, Outgoing, Records, Slice, TaskId, bounds
from pipeline.declaration import PREDICTIONS, Pipeline
from pipeline.errors import StateClosed, StateCorrupt, StateDamaged
from pipeline.features.layout import SEEN
from pipeline.features.spec import Float64s
from pipeline.features.tables import Memory
from pipeline.features.windows import advance, plausible
from pipeline.settings import StateSettings
from pipeline.state.changelog import MEANING, ROWLESS, Meaning
from pipeline.state.format import Fixed, Format, Rows
from pipeline.state.identity import Shape
from pipeline.state.predictions import FRESH, PREDICTION, predictions
from pipeline.state.sparse import Sparse
from pipeline.state.table import Written
from pipeline.state.tables import Tables
from pipeline.telemetry.metrics import Metrics

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HOUR_MS = 3_600_000
# Rows are forgotten only when no event is expected that is so much older than the newest one: a day late, beside a
# clock that runs ahead as far as it may.
LATE_MS = 24 * HOUR_MS

_PER_MS = {"s": 1 / 1000, "ms": 1, "us": 1_000, "ns": 1_000_000}


class Shelf(Protocol):
    """Where the tables of the running tasks are."""

    def tables(self, life: Life) -> Tables | None:
        """Return the tables of a task in one of its epochs; None if that is over."""
        ...


class _Piece(NamedTuple):
    """The part of a feed that is of one task: entries [start, stop), and its distinct keys from row ``base`` on."""

    life: Life
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
        records: Records,
        pieces: Sequence[tuple[Life, int, int]],
        events: Batch,
        events_time: str,
        facts: tuple[Batch, str] | None,
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

    def values(self, memory: Memory) -> Float64s:
        """Return float64 [n, V], NaN for what does not feed the table."""
        numbers = memory.numbers(self.batch.columns)
        if len(self.fed) == len(self.rows):
            return numbers
        values = np.full((len(self.rows), numbers.shape[1]), np.nan)
        values[self.fed] = numbers
        return values

    def _pieces(self, records: Records, pieces: Sequence[tuple[Life, int, int]]) -> Iterator[_Piece]:
        base = 0
        self._indices: list[npt.NDArray[np.int64]] = []
        for life, first, end in pieces:
            start, stop = np.searchsorted(self.rows, (first, end)).tolist()
            if start == stop:
                continue
            if stop - start == end - first:
                keys = records.keys[first:end]
            else:
                keys = [records.keys[row] for row in self.rows[start:stop].tolist()]
            index: dict[bytes | None, int] = dict.fromkeys(keys, -1)
            distinct = cast("list[bytes]", [key for key in index if key not in ROWLESS])
            index.update(zip(distinct, range(base, base + len(distinct)), strict=True))
            self._indices.append(np.fromiter(map(index.__getitem__, keys), np.int64, len(keys)))
            yield _Piece(life, start, stop, base, distinct)
            base += len(distinct)

    def _key_index(self, known: Bools) -> Int64s:
        key = np.concatenate(self._indices) if self._indices else np.zeros(0, dtype=np.int64)
        return key if known.all() else np.where(known, key, -1)


class Recall:
    """The memory of one pipeline. For the flow's thread; raises StateClosed where a task was given up or went back
    meanwhile: nothing of the batch may be committed then. StateDamaged says whose disk is."""

    def __init__(
        self, pipeline: Pipeline, shelf: Shelf, settings: StateSettings, *, model_version: str, metrics: Metrics
    ) -> None:
        self._events_time = pipeline.events.time
        self._memories = pipeline.memories
        self._changelogs = pipeline.changelogs
        self._meanings = {table: meaning.dump() for table, meaning in meanings(pipeline).items()}
        self._told: set[tuple[Life, str]] = set()
        self._shelf = shelf
        self._believes = believed(settings)
        self._model_version = model_version
        self._metrics = metrics
        self._forget_rows = settings.forget_rows
        self._slack_ms = LATE_MS + round(settings.future_hours_max * HOUR_MS)
        self._newest: dict[tuple[TaskId, str], float] = {}  # the greatest event time in a table's rows, by task
        self._expired = _expiries(pipeline)
        self._turn = 0
        predictions(np.zeros(0), np.zeros(0, dtype=np.int64), 0, model_version)  # a name that is too long is told now

    def remember(
        self, slices: Sequence[Slice], records: Records, events: Batch, facts: Mapping[str, Batch], changes: Changes
    ) -> dict[str, Float64s]:
        """Take a batch through all tables of features; return float64 [m] for each statistic, for the m events."""
        pieces = bounds(slices)
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
        slices: Sequence[Slice],
        records: Records,
        rows: Int64s,
        scores: npt.NDArray[np.float64],
        times: pa.Array,
        scored_ms: int,
        changes: Changes,
    ) -> None:
        """Note the last score of each key: ``rows`` int64 [k], rising, have ``scores`` [k] and event ``times`` [k]."""
        if PREDICTIONS not in self._changelogs:
            return
        event_ms, _ = milliseconds(times)
        for life, first, end in bounds(slices):
            start, stop = np.searchsorted(rows, (first, end)).tolist()
            last = dict(zip([records.keys[row] for row in rows[start:stop].tolist()], range(start, stop), strict=True))
            last = {key: row for key, row in last.items() if key not in ROWLESS}
            if not last:
                continue
            at = np.fromiter(last.values(), np.int64, len(last))
            kept = predictions(scores[at], event_ms[at], scored_ms, self._model_version)
            keys = cast("list[bytes]", list(last))
            self._write(life, PREDICTIONS, keys, kept, records.offsets[rows[at]], changes)
            self._noted(life, PREDICTIONS, float(event_ms[at].max()))

    def committed(self, life: Life) -> dict[str, int]:
        """Return by topic the offset up to which the tables of a task are on the disk: that of the next record."""
        with _of(life):
            return self._tables(life).store.positions()

    def _advance(self, memory: Memory, feed: _Feed, records: Records, changes: Changes) -> dict[str, Float64s]:
        name = memory.table.name
        found = [self._read(piece.life, name, piece.keys) for piece in feed.pieces]
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
                self._write(piece.life, name, keys, new, offsets[changed], changes)
                self._noted(piece.life, name, float(new[:, SEEN].max()))
        return {each.name: results[feed.own, at] for at, each in enumerate(memory.statistics)}

    def _read(self, life: Life, name: str, keys: list[bytes]) -> Rows:
        with _of(life):
            return self._tables(life)[name].read(keys)

    def _write(self, life: Life, name: str, keys: list[bytes], rows: Rows, offsets: Int64s, changes: Changes) -> None:
        with _of(life):
            written = self._tables(life)[name].write(keys, rows, offsets, life[1])
        if written is None:
            raise StateClosed(f"task {life[0]} went back while its batch was computed")
        self._changed(written, life, changes)

    def _changed(self, written: Written, life: Life, changes: Changes) -> None:
        keys, values = written.keys, written.values
        if (life, written.table) not in self._told:  # the first burst of an epoch says what the rows mean
            self._told.add((life, written.table))
            keys, values = [MEANING, *keys], [self._meanings[written.table], *values]
        changes.bursts.append(Outgoing(self._changelogs[written.table], [life[0].partition] * len(keys), keys, values))
        changes.writes[life] = written.number

    def _noted(self, life: Life, name: str, time_ms: float) -> None:
        self._newest[life[0], name] = max(time_ms, self._newest.get((life[0], name), time_ms))

    def _forget(self, pieces: Sequence[tuple[Life, int, int]], changes: Changes) -> None:
        """Look at some rows of one table of one task, in turn: that bounds what a batch pays for it."""
        choices = [(life, name) for life, _, _ in pieces for name in self._expired]
        self._turn += 1
        life, name = choices[self._turn % len(choices)]
        newest = self._newest.get((life[0], name))
        if newest is None:
            return
        expired, now_ms = self._expired[name], int(newest) - self._slack_ms
        with _of(life):
            written = self._tables(life)[name].forget(lambda rows: expired(rows, now_ms), self._forget_rows, life[1])
        if written is not None:
            self._changed(written, life, changes)

    def _tables(self, life: Life) -> Tables:
        tables = self._shelf.tables(life)
        if tables is None:
            raise StateClosed(f"task {life[0]} went back or was given up while its batch was computed")
        return tables


def believed(settings: StateSettings) -> Callable[[Int64s, Int64s], Bools]:
    """Return what tells which event times, int64 [n] beside the arrivals, may change state."""
    past_ms, future_ms = round(settings.past_days_max * 24 * HOUR_MS), round(settings.future_hours_max * HOUR_MS)
    return lambda times, arrived: plausible(times, arrived, past_ms, future_ms)


def formats(pipeline: Pipeline) -> tuple[dict[str, Format], dict[str, Shape]]:
    """Return how the rows of each table of a pipeline are stored, and what tells one meaning of them from another."""
    found: dict[str, Format] = {}
    shapes: dict[str, Shape] = {}
    for memory in pipeline.memories:
        found[memory.table.name] = Sparse(memory.layout.fresh)
        shapes[memory.table.name] = Shape(found[memory.table.name].size, memory.layout.fingerprint())
    if pipeline.keeps_predictions:
        found[PREDICTIONS] = Fixed(PREDICTION, FRESH)
        shapes[PREDICTIONS] = Shape(found[PREDICTIONS].size, str(PREDICTION.descr))
    return found, shapes


def meanings(pipeline: Pipeline) -> dict[str, Meaning]:
    """Return what the rows of each table of a pipeline mean, as changelogs say it."""
    shapes = formats(pipeline)[1]
    declared = {memory.table.name: memory.layout.declaration() for memory in pipeline.memories}
    return {table: Meaning(shape.fingerprint, declared.get(table)) for table, shape in shapes.items()}


def predictions_ms(pipeline: Pipeline) -> int | None:
    """Return how long the last score of a key is kept, in ms of event time: as the longest table; None: for ever."""
    spans = [memory.layout.memory_ms for memory in pipeline.memories]
    kept = [span for span in spans if span is not None]
    return max(kept) if pipeline.keeps_predictions and kept and len(kept) == len(spans) else None


def _expiries(pipeline: Pipeline) -> dict[str, Callable[[Rows, int], Bools]]:
    """Return how to tell, of the tables that forget, which rows no event from a time (ms) on can make use of."""
    found: dict[str, Callable[[Rows, int], Bools]] = {
        memory.table.name: memory.layout.expired for memory in pipeline.memories if memory.layout.memory_ms is not None
    }
    longest = predictions_ms(pipeline)
    if longest is not None:
        found[PREDICTIONS] = lambda rows, now_ms: rows["event_ms"] < now_ms - longest
    return found


@contextmanager
def _of(life: Life) -> Iterator[None]:
    """Say whose state it was that could not be used."""
    try:
        yield
    except StateCorrupt as error:
        raise StateDamaged(str(error), life[0].partition) from error


def milliseconds(times: pa.Array) -> tuple[Int64s, Bools]:
    """Return int64 [n], 0 for null, and bool [n], which are not null."""
    known = times.is_valid().to_numpy(zero_copy_only=False)
    ticks = times.view(pa.int64())
    found = (ticks.fill_null(0) if ticks.null_count else ticks).to_numpy(zero_copy_only=False)
    each = _PER_MS[times.type.unit]
    return (found * 1000 if each < 1 else found if each == 1 else found // each), known
