"""What a key's state row holds: float64 cells, whose they are and where; and what follows from that alone.

    cell 0                   the greatest event time of the key so far, in ms
    two for each last value  its event time in ms, and the value
    for each window a ring   for each part that its statistics need (counts, sums, ...) 2 B slots, one for each bucket

A window of span W in B buckets of width b = W/B puts an event at t into bucket(t) = floor(t / b), whose slot is
bucket mod 2B. The newest bucket of a ring needs no cell: it is the bucket of the greatest event time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import TopologyError
from pipeline.features.spec import Float64s

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SEEN = 0  # the cell of the greatest event time
TIME_BOUND_MS = 2**52  # so that times and their differences are exact in float64; 142,000 years from 1970
RING_PER_WINDOW = 2  # a ring remembers so many windows: what is late by less than one still finds its bucket

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


class AggregateKind(IntEnum):
    """The statistics of a key. All but the last two are over a window."""

    COUNT = 0
    SUM = 1
    MEAN = 2
    MIN = 3
    MAX = 4
    STD = 5  # of the population: divided by n, not by n - 1
    LAST = 6
    SECONDS_SINCE_LAST = 7


class Accumulator(IntEnum):
    """What a slot may hold, of all events of its bucket or of those whose value is there."""

    EVENTS = 0
    COUNT = 1
    SUM = 2
    MIN = 3
    MAX = 4
    MEAN = 5
    SQUARES = 6  # the sum of squared distances from the mean; its cells follow those of the mean


_NEEDS: dict[AggregateKind, tuple[Accumulator, ...]] = {  # the first is where the reading starts
    AggregateKind.COUNT: (Accumulator.EVENTS,),
    AggregateKind.SUM: (Accumulator.SUM,),
    AggregateKind.MEAN: (Accumulator.SUM, Accumulator.COUNT),
    AggregateKind.MIN: (Accumulator.MIN,),
    AggregateKind.MAX: (Accumulator.MAX,),
    AggregateKind.STD: (Accumulator.MEAN, Accumulator.COUNT, Accumulator.SQUARES),
}


@dataclass(frozen=True, slots=True, order=True)
class RingWindow:
    """A span of event time, in whole ms, in equal buckets. Raises TopologyError where they cannot be equal."""

    span_ms: int
    buckets: int = 12

    def __post_init__(self) -> None:
        if self.span_ms < 1 or self.buckets < 1 or self.span_ms % self.buckets:
            raise TopologyError(
                f"a window of {self.span_ms} ms in {self.buckets} buckets: a bucket must be 1 or more whole "
                "milliseconds; choose buckets= so that it divides the window"
            )

    @property
    def bucket_ms(self) -> int:
        """The width of a bucket."""
        return self.span_ms // self.buckets

    @property
    def slots(self) -> int:
        """How many buckets its ring remembers."""
        return RING_PER_WINDOW * self.buckets

    def __str__(self) -> str:
        return f"{span_text(self.span_ms)}/{self.buckets}"


class AggregateSpec(NamedTuple):
    """What one statistic asks of a row. ``value`` says of what, in words that nothing else goes by."""

    kind: AggregateKind
    value: str | None = None
    window: RingWindow | None = None


class UpdateProgram(NamedTuple):
    """The layout as the compiled update reads it, all int64.

    ``rings`` [r, 8]: bucket width in ms, buckets, first and end of its cells, of its rows in ``updates``, and of its
    rows in ``reads``. ``updates`` [u, 4]: part, value, the cell for slot 0, that of the count. ``reads`` [f, 4]: kind,
    column of the result, the cells for slot 0 of two parts. ``lasts`` [l, 2]: value, cell of its time. ``latest``
    [m, 3]: kind, column of the result, cell of the time.
    """

    rings: Int64s
    updates: Int64s
    reads: Int64s
    lasts: Int64s
    latest: Int64s


class Cell(NamedTuple):
    """What one cell is: of a ring (with its slot and part) or, without a window, a time or a last value."""

    window: RingWindow | None
    slot: int
    part: Accumulator | None
    value: str | None
    is_time: bool = False


@dataclass(frozen=True)
class RowLayout:
    """The state row of the measures, in any order; statistics of one window share its ring.

    ``forget_after_ms``: a last value or time is missing to an event that is later by more than this; None: never.
    ``fed_by`` says which events feed the rows; rows fed by others are other rows.
    """

    measures: tuple[AggregateSpec, ...]
    ttl_ms: int | None = None
    fed_by: str = ""
    values: tuple[str, ...] = field(init=False)
    cells: tuple[Cell, ...] = field(init=False, repr=False)
    fresh: Float64s = field(init=False, repr=False, compare=False)
    program: UpdateProgram = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        values = tuple(sorted({measure.value for measure in self.measures if measure.value is not None}))
        cells = tuple(_cells(self.measures))
        fresh = np.array([np.nan if _starts_missing(cell) else 0.0 for cell in cells])
        fresh.flags.writeable = False
        for name, found in (("values", values), ("cells", cells), ("fresh", fresh)):
            object.__setattr__(self, name, found)
        object.__setattr__(self, "program", _program(self))
        if self.ttl_ms is not None and self.ttl_ms < RING_PER_WINDOW * self.longest_ms:
            raise TopologyError(
                f"forget_after is {span_text(self.ttl_ms)}, less than {RING_PER_WINDOW} x the longest window "
                f"({span_text(self.longest_ms)}): its ring would lose what late events may still add to"
            )

    @property
    def width(self) -> int:
        """The cells of a row."""
        return len(self.cells)

    @property
    def windows(self) -> tuple[RingWindow, ...]:
        """The windows that have a ring, in the order of the rings."""
        return _windows(self.measures)

    @property
    def longest_ms(self) -> int:
        """The longest window; 0 without one."""
        return max((window.span_ms for window in self.windows), default=0)

    @property
    def memory_ms(self) -> int | None:
        """How long after its greatest event time a row can still matter; None: for ever.

        Rings matter for two windows: an event that is later by more sees none of their buckets and evicts them all.
        A last value or time matters for ``forget_after_ms``.
        """
        if self.ttl_ms is not None:
            return self.ttl_ms
        return None if len(self.program.latest) else RING_PER_WINDOW * self.longest_ms

    def rows(self, keys: int) -> Float64s:
        """Return float64 [keys, W]: rows of keys that nothing is known of."""
        return np.tile(self.fresh, (keys, 1))

    def expired(self, rows: Float64s, now_ms: int) -> Bools:
        """Say of float64 [k, W] which rows no event at ``now_ms`` or later can tell from a fresh one: bool [k].

        Event time, not the wall clock: ``now_ms`` is the time before which no event that updates is expected.
        """
        seen = rows[:, SEEN]
        if self.memory_ms is None:
            return np.isnan(seen)
        return ~(now_ms - seen <= self.memory_ms)

    def fingerprint(self) -> str:
        """Return a hash, the same in every process, that differs wherever rows could mean something else."""
        meaning = [self.fed_by, self.memory_ms, [_fingerprint_text(cell) for cell in self.cells]]
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()

    def declaration(self) -> dict[str, Any]:
        """Return what ``declared`` makes the layout from, as plain JSON values."""
        measures = [
            [int(kind), value, None if window is None else [window.span_ms, window.buckets]]
            for kind, value, window in self.measures
        ]
        return {"measures": measures, "forget_after_ms": self.ttl_ms, "fed_by": self.fed_by}

    def named(self, row: Float64s) -> dict[str, Any]:
        """Return what a row, float64 [W], holds, as plain JSON values: of the rings, the buckets that are not empty."""
        seen = row[SEEN]
        found: dict[str, Any] = {"seen_ms": _json(seen), "last": {}, "windows": {}}
        for at, cell in enumerate(self.cells):
            if cell.window is None and cell.value is not None and cell.is_time:
                found["last"][cell.value] = {"time_ms": _json(row[at]), "value": _json(row[at + 1])}
        for window in self.windows:
            found["windows"][str(window)] = [] if np.isnan(seen) else list(self._buckets(row, window))
        return found

    def _buckets(self, row: Float64s, window: RingWindow) -> Iterator[dict[str, Any]]:
        """Yield the buckets of a ring that hold something, oldest first."""
        newest = int(row[SEEN]) // window.bucket_ms
        of_slot: dict[int, list[int]] = {}
        for at, cell in enumerate(self.cells):
            if cell.window == window:
                of_slot.setdefault(cell.slot, []).append(at)
        for bucket in range(newest - window.slots + 1, newest + 1):
            cells = of_slot[bucket % window.slots]
            if not np.array_equal(row[cells], self.fresh[cells], equal_nan=True):
                held = {_part_name(self.cells[at]): _json(row[at]) for at in cells}
                yield {"from_ms": bucket * window.bucket_ms} | held


def migrate(old: RowLayout, new: RowLayout, rows: Float64s) -> Float64s | None:
    """Return float64 [k, W of new]: rows of ``old`` as ``new`` would have them, if they hold all that it wants.

    None where they do not, and the state must be rebuilt from the events: a ring, a part or a last value is new,
    other events feed the table, or rows may have been forgotten that the new layout would have kept.
    """
    kept_longer = old.memory_ms is not None and (new.memory_ms is None or new.memory_ms > old.memory_ms)
    if old.fed_by != new.fed_by or kept_longer:
        return None
    places = {cell: at for at, cell in enumerate(old.cells)}
    if not places.keys() >= set(new.cells):
        return None
    return np.ascontiguousarray(rows[:, [places[cell] for cell in new.cells]])


def declared(declaration: Mapping[str, Any]) -> RowLayout | None:
    """Return the layout of a declaration; None if it is none that this version knows."""
    try:
        measures = tuple(
            AggregateSpec(AggregateKind(kind), value, None if window is None else RingWindow(*window))
            for kind, value, window in declaration["measures"]
        )
        return RowLayout(measures, declaration["forget_after_ms"], declaration["fed_by"])
    except (ValueError, LookupError, TypeError, TopologyError):
        return None


def span_text(ms: int) -> str:
    """Return a span in the largest unit that it is a whole number of: ``6h``, ``90s``."""
    unit, each = next((unit, each) for unit, each in _UNITS if ms % each == 0)
    return f"{ms // each}{unit}"


def _windows(measures: Iterable[AggregateSpec]) -> tuple[RingWindow, ...]:
    return tuple(sorted({measure.window for measure in measures if measure.window is not None}))


def _parts(measures: Iterable[AggregateSpec], window: RingWindow) -> list[tuple[str | None, Accumulator]]:
    """Return what a slot of the window's ring holds, by value, those of all events first."""
    wanted = {
        (measure.value, part) for measure in measures if measure.window == window for part in _NEEDS[measure.kind]
    }
    return sorted(wanted, key=lambda each: (each[0] or "", each[1]))


def _cells(measures: tuple[AggregateSpec, ...]) -> Iterator[Cell]:
    yield Cell(None, 0, None, None, is_time=True)
    for value in sorted({measure.value or "" for measure in measures if measure.kind is AggregateKind.LAST}):
        yield Cell(None, 0, None, value, is_time=True)
        yield Cell(None, 0, None, value)
    for window in _windows(measures):
        parts = _parts(measures, window)
        yield from (Cell(window, slot, part, value) for value, part in parts for slot in range(window.slots))


def _starts_missing(cell: Cell) -> bool:
    return cell.part in {None, Accumulator.MIN, Accumulator.MAX}


def _program(layout: RowLayout) -> UpdateProgram:
    measures, values = layout.measures, layout.values
    places = {cell: at for at, cell in enumerate(layout.cells)}
    rings: list[list[int]] = []
    updates: list[tuple[int, ...]] = []
    reads: list[tuple[int, ...]] = []
    for window in layout.windows:
        parts = _parts(measures, window)
        cells = {(value, part): places[Cell(window, 0, part, value)] for value, part in parts}
        start = cells[parts[0]]
        ring = [window.bucket_ms, window.buckets, start, start + len(parts) * window.slots, len(updates)]
        for value, part in parts:
            if part is not Accumulator.SQUARES:  # goes with the mean
                number = values.index(value) if value is not None else 0
                updates.append((part, number, cells[value, part], cells.get((value, Accumulator.COUNT), 0)))
        ring += [len(updates), len(reads)]
        for column, measure in enumerate(measures):
            if measure.window == window:
                needs = [cells[measure.value, part] for part in _NEEDS[measure.kind]]
                reads.append((measure.kind, column, needs[0], needs[1] if len(needs) > 1 else 0))
        rings.append([*ring, len(reads)])
    times = {cell.value: at for cell, at in places.items() if cell.is_time}
    lasts = [(values.index(value), at) for value, at in times.items() if value is not None]
    latest = [
        (measure.kind, column, times[measure.value])
        for column, measure in enumerate(measures)
        if measure.window is None
    ]
    tables = ((rings, 8), (updates, 4), (reads, 4), (lasts, 2), (latest, 3))
    return UpdateProgram(*(np.array(table, dtype=np.int64).reshape(-1, width) for table, width in tables))


def _fingerprint_text(cell: Cell) -> str:
    """Return the text of a cell that is hashed into the fingerprint.

    Stores and changelogs hold that hash, so the text must not change when a class or field of this module is renamed.
    """
    window, part = cell.window, cell.part
    window_text = None if window is None else f"Window(span_ms={window.span_ms}, buckets={window.buckets})"
    part_text = None if part is None else f"<Part.{part.name}: {part.value}>"
    return (
        f"Cell(window={window_text}, slot={cell.slot}, part={part_text}, value={cell.value!r}, is_time={cell.is_time})"
    )


def _part_name(cell: Cell) -> str:
    part = Accumulator(cell.part or 0).name.lower()
    return part if cell.value is None else f"{part}({cell.value})"


def _json(number: float) -> float | int | None:
    if not np.isfinite(number):
        return None
    return int(number) if number == int(number) else float(number)
