"""Event histories of keys for tests of feature state, and the expected results of a table by definition only."""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from hypothesis import strategies as st

from surgetank.features.aggregate_kinds import AggregateKind
from surgetank.features.arithmetic import Difference
from surgetank.features.derived import Above, IsNull, Log1p, Value, numbers
from surgetank.features.row_layout import TIME_BOUND_MS, RingWindow
from surgetank.features.tables import Aggregate, Table, TableState, table_states
from surgetank.features.windows import advance

Float64s = npt.NDArray[np.float64]

WINDOWS = (RingWindow(12, 12), RingWindow(12, 3), RingWindow(40, 4), RingWindow(60, 1), RingWindow(7, 7))
VALUES: tuple[Value, ...] = ("a", "b", Difference("a", "b"), IsNull("b"), Above(Log1p("a"), 1))


class Event(NamedTuple):
    """One event: ``a`` and ``b`` are its fields. One that ``deletes`` the state of its key reads nothing."""

    key: str | None
    time_ms: int
    a: float | None = None
    b: float | None = None
    reads: bool = True
    writes: bool = True
    deletes: bool = False


class Expected(NamedTuple):
    """A number, NaN where it is missing, and its absolute tolerance."""

    number: float
    tolerance: float = 0.0


numbers_or_null = (
    st.none() | st.integers(-9, 9).map(float) | st.floats(-1e6, 1e6) | st.sampled_from([math.inf, math.nan])
)
whole_or_null = st.none() | st.integers(-1000, 1000).map(float)
times = st.integers(-30, 130) | st.integers(-500, 500) | st.sampled_from([-(2**63), 2**63 - 1, 2**52 + 1, -(10**12)])


def histories(values: st.SearchStrategy[float | None] = numbers_or_null) -> st.SearchStrategy[list[Event]]:
    """Return lists of events of few keys: out of order, far apart, simultaneous, some read-only, some write-only.

    Some of them delete the state of their key.
    """
    mostly = st.sampled_from([True, True, True, False])
    keys = st.sampled_from([*"aabbc", None])
    deletion = st.builds(deleting, keys)
    event = st.builds(Event, keys, times, values, values, mostly, mostly, deletes=st.just(False))
    return st.lists(st.one_of(event, event, event, deletion))


def deleting(key: str | None) -> Event:
    """Return an event that deletes the state of its key."""
    return Event(key, 0, reads=False, writes=False, deletes=True)


def statistic(table: Table, kind: AggregateKind, value: Value, window: RingWindow) -> Aggregate:
    """Return the aggregate of a kind, with the parts of value and window that it uses."""
    return Aggregate(
        table,
        kind,
        None if kind in {AggregateKind.COUNT, AggregateKind.SECONDS_SINCE_LAST} else value,
        None if kind in {AggregateKind.LAST, AggregateKind.SECONDS_SINCE_LAST} else window,
    )


@st.composite
def tables(draw: st.DrawFn, values: Sequence[Value] = VALUES) -> TableState:
    """Draw the table of a pipeline: some aggregates over some windows, with or without a TTL."""
    forgets = draw(st.sampled_from([None, 120, 150]))
    table = Table("t", ttl=None if forgets is None else timedelta(milliseconds=forgets))
    wanted: st.SearchStrategy[Aggregate] = st.builds(
        statistic, st.just(table), st.sampled_from(AggregateKind), st.sampled_from(values), st.sampled_from(WINDOWS)
    )
    drawn = draw(st.lists(wanted, min_size=1, max_size=6, unique_by=lambda each: each.measure))
    (memory,) = table_states(drawn)
    return memory


def columns(events: Sequence[Event]) -> pa.RecordBatch:
    """Return the fields of events as in a decoded batch."""
    return pa.record_batch({name: pa.array([getattr(event, name) for event in events], pa.float64()) for name in "ab"})


@dataclass
class Online:
    """A table as the batch processor uses it: rows by key, read, updated and stored, batch by batch."""

    memory: TableState
    rows: dict[str, Float64s] = field(default_factory=dict)
    late: int = 0

    def take(self, events: Sequence[Event]) -> Float64s:
        """Return the results of one batch, [n, F], and store its rows."""
        keys = sorted({event.key for event in events if event.key is not None})
        rows = self.memory.layout.rows(len(keys))
        for at, key in enumerate(keys):
            rows[at] = self.rows.get(key, rows[at])
        results, late = advance(
            self.memory.layout,
            rows,
            np.array([-1 if event.key is None else keys.index(event.key) for event in events], np.int64),
            np.array([event.time_ms for event in events], np.int64),
            self.memory.numbers(columns(events)),
            np.array([event.reads for event in events], np.bool_),
            np.array([event.writes for event in events], np.bool_),
            np.array([event.deletes for event in events], np.bool_),
        )
        self.late += late
        self.rows |= dict(zip(keys, rows, strict=True))
        return results


def by_definition(memory: TableState, events: Sequence[Event]) -> tuple[list[list[Expected]], int]:
    """Return the expected result of each event, [n][F], and the number of late events, from lists of past events."""
    past: dict[str, Past] = defaultdict(lambda: Past(memory))
    values = {each.value: numbers(each.value, columns(events)) for each in memory.aggregates if each.value is not None}
    found, late = [], 0
    for at, event in enumerate(events):
        seen = [Expected(math.nan)] * len(memory.aggregates)
        if event.key is not None and event.deletes:
            past.pop(event.key, None)
        elif event.key is not None:
            time = min(max(event.time_ms, -TIME_BOUND_MS), TIME_BOUND_MS)
            own = {value: float(column[at]) for value, column in values.items()}
            if event.reads:
                seen = [past[event.key].see(each, time) for each in memory.aggregates]
            if event.writes:
                late += past[event.key].add(time, own)
        found.append(seen)
    return found, late


class Past:
    """The past of one key: for each window the events that updated its ring, and all events that wrote."""

    def __init__(self, memory: TableState) -> None:
        self.ttl = memory.layout.ttl_ms
        self.rings: dict[RingWindow, list[tuple[int, dict[Value, float]]]] = {w: [] for w in memory.layout.windows}
        self.all: list[tuple[int, dict[Value, float]]] = []

    def newest(self, window: RingWindow) -> int | None:
        """Return the greatest bucket of an event that updated the ring."""
        return max((bucket for bucket, _ in self.rings[window]), default=None)

    def add(self, time: int, own: dict[Value, float]) -> bool:
        """Add an event; return whether it was late for any ring."""
        late = False
        for window, ring in self.rings.items():
            bucket, newest = time // window.bucket_ms, self.newest(window)
            if newest is None or bucket > newest - 2 * window.buckets:
                ring.append((bucket, own))
            else:
                late = True
        self.all.append((time, own))
        return late

    def see(self, wanted: Aggregate, time: int) -> Expected:
        """Return the expected aggregate for an event at this time."""
        if wanted.window is None:
            return Expected(self.latest(wanted, time))
        bucket, newest = time // wanted.window.bucket_ms, self.newest(wanted.window)
        seen = [
            own
            for each, own in self.rings[wanted.window]
            if bucket - wanted.window.buckets < each <= bucket and each > (newest or 0) - 2 * wanted.window.buckets
        ]
        if wanted.value is None:
            return Expected(len(seen))
        known = [own[wanted.value] for own in seen if not math.isnan(own[wanted.value])]
        return summary(wanted.kind, known)

    def latest(self, wanted: Aggregate, time: int) -> float:
        """Return the last value or the seconds since the last event, NaN if there is none or it has expired."""
        value = wanted.value
        known = [(then, own) for then, own in self.all if value is None or not math.isnan(own[value])]
        if not known:
            return math.nan
        greatest = max(then for then, _ in known)
        if self.ttl is not None and time - greatest > self.ttl:
            return math.nan
        if value is None:
            return (time - greatest) / 1000
        return [own[value] for then, own in known if then == greatest][-1]


def summary(kind: AggregateKind, known: list[float]) -> Expected:
    """Return an aggregate of known values by Python's own functions."""
    if kind is AggregateKind.SUM:
        return Expected(math.fsum(known), 1e-9 * math.fsum(map(abs, known)))
    if not known:
        return Expected(math.nan)
    if kind in {AggregateKind.MIN, AggregateKind.MAX}:
        return Expected(min(known) if kind is AggregateKind.MIN else max(known))
    number = statistics.fmean(known) if kind is AggregateKind.MEAN else statistics.pstdev(known)
    return Expected(number, 1e-9 * max(map(abs, known)))


def assert_as_expected(found: Float64s, expected: list[list[Expected]]) -> None:
    """Assert that the results, [n, F], are as expected, bit for bit where there is no tolerance."""
    numbers_ = np.array([[each.number for each in row] for row in expected]).reshape(found.shape)
    tolerances = np.array([[each.tolerance for each in row] for row in expected]).reshape(found.shape)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(numbers_))
    with np.errstate(invalid="ignore"):
        off = np.abs(found - numbers_) > tolerances
    assert not off.any(), (found[off], numbers_[off])
