"""The layout of a state row: the meaning of its float64 cells, and functions that depend on the layout alone.

    cell 0                   the greatest event time of the key so far, in ms
    two per last value       its event time in ms, and the value
    one ring per window      for each accumulator that its aggregates need (counts, sums, ...) 2B slots, one per bucket

A window of span W in B buckets of width b = W/B puts an event at t into bucket(t) = floor(t / b), in slot
bucket mod 2B. The newest bucket of a ring is not stored: it is the bucket of the greatest event time.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from surgetank.errors import TopologyError
from surgetank.features.aggregate_kinds import Accumulator, AggregateKind
from surgetank.features.spec import Float64s

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEWEST_TIME = 0  # the cell of the greatest event time
TIME_BOUND_MS = 2**52  # keeps times and their differences exact in float64; 142,000 years from 1970
RING_PER_WINDOW = 2  # the length of a ring in windows: an event late by less than one window still finds its bucket

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


@dataclass(frozen=True, slots=True, order=True)
class RingWindow:
    """A span of event time in ms, divided into equal buckets. Raises TopologyError if it cannot be divided equally."""

    span_ms: int
    buckets: int = 12

    def __post_init__(self) -> None:
        if self.span_ms < 1 or self.buckets < 1 or self.span_ms % self.buckets:
            raise TopologyError(
                f"a window of {self.span_ms} ms in {self.buckets} buckets: a bucket must be 1 or more whole "
                "milliseconds; choose buckets= as a divisor of the window"
            )

    @property
    def bucket_ms(self) -> int:
        """The width of a bucket in ms."""
        return self.span_ms // self.buckets

    @property
    def slots(self) -> int:
        """The number of buckets in the ring."""
        return RING_PER_WINDOW * self.buckets

    def __str__(self) -> str:
        return f"{duration_text(self.span_ms)}/{self.buckets}"


class AggregateSpec(NamedTuple):
    """The cells that one aggregate needs. ``value`` is a text that identifies the aggregated value."""

    kind: AggregateKind
    value: str | None = None
    window: RingWindow | None = None


class UpdateProgram(NamedTuple):
    """The layout as the compiled update reads it. All arrays are int64.

    ``rings`` [r, 8]: bucket width in ms, buckets, first and end of the ring's cells, of its rows in ``updates`` and of
    its rows in ``reads``. ``updates`` [u, 4]: accumulator, value, cell for slot 0, cell of the count for slot 0.
    ``reads`` [f, 4]: ``RingRead``, column of the result, cells for slot 0 of two accumulators. ``lasts`` [l, 2]: value,
    cell of its time. ``latest`` [m, 3]: kind, column of the result, cell of the time.
    """

    rings: Int64s
    updates: Int64s
    reads: Int64s
    lasts: Int64s
    latest: Int64s


class Cell(NamedTuple):
    """The meaning of one cell: a slot of a ring or, without a window, a time or a last value."""

    window: RingWindow | None
    slot: int
    accumulator: Accumulator | None
    value: str | None
    is_time: bool = False

    @property
    def fingerprinted(self) -> str:
        """Return the text that goes into the fingerprint of a layout.

        Stores and changelogs keep the fingerprint, so the text must not depend on the names of classes. It has the
        names that the classes had when state was first written.
        """
        window = self.window and f"Window(span_ms={self.window.span_ms}, buckets={self.window.buckets})"
        part = (
            self.accumulator
            if self.accumulator is None
            else f"<Part.{self.accumulator.name}: {self.accumulator.value}>"
        )
        return f"Cell(window={window}, slot={self.slot}, part={part}, value={self.value!r}, is_time={self.is_time})"


@dataclass(frozen=True)
class RowLayout:
    """The layout of the state row for the measures, in any order; aggregates of one window share its ring.

    ``ttl_ms``: a last value or time older than this, relative to the event, is missing; None: no limit. ``fed_by``
    identifies the events that update the rows; it is part of the fingerprint. Raises TopologyError if an aggregate has
    a window that its kind cannot read, or lacks one, or if ``ttl_ms`` is less than two of the longest window.
    """

    measures: tuple[AggregateSpec, ...]
    ttl_ms: int | None = None
    fed_by: str = ""
    values: tuple[str, ...] = field(init=False)
    cells: tuple[Cell, ...] = field(init=False, repr=False)
    fresh: Float64s = field(init=False, repr=False, compare=False)
    program: UpdateProgram = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for kind, _, window in self.measures:
            if (kind.ring is None) != (window is None):
                needed = "takes no window" if kind.ring is None else "needs a window"
                raise TopologyError(f"an aggregate of the kind {kind.name.lower()} {needed}")
        values = tuple(sorted({measure.value for measure in self.measures if measure.value is not None}))
        cells = tuple(_cells(self.measures))
        fresh = np.array([np.nan if _starts_missing(cell) else 0.0 for cell in cells])
        fresh.flags.writeable = False
        for name, found in (("values", values), ("cells", cells), ("fresh", fresh)):
            object.__setattr__(self, name, found)
        object.__setattr__(self, "program", _program(self))
        if self.ttl_ms is not None and self.ttl_ms < RING_PER_WINDOW * self.longest_window_ms:
            least = RING_PER_WINDOW * self.longest_window_ms
            raise TopologyError(
                f"ttl is {duration_text(self.ttl_ms)}, less than {RING_PER_WINDOW} x the longest window "
                f"({duration_text(self.longest_window_ms)}): late events could still update buckets of the expired row"
                f"; set it to {duration_text(least)} or more, or leave it out"
            )

    @property
    def width(self) -> int:
        """The number of cells of a row."""
        return len(self.cells)

    @property
    def row_bytes(self) -> int:
        """The bytes of a row in memory."""
        return 8 * self.width

    @property
    def windows(self) -> tuple[RingWindow, ...]:
        """The windows that have a ring, in the order of the rings."""
        return _windows(self.measures)

    @property
    def longest_window_ms(self) -> int:
        """The span of the longest window in ms; 0 if there is none."""
        return max((window.span_ms for window in self.windows), default=0)

    @property
    def retention_ms(self) -> int | None:
        """How long a row is needed after its greatest event time, in ms; None: forever.

        Rings are needed for two windows: a later event reads none of their buckets and evicts all of them. A last value
        or time is needed for ``ttl_ms``.
        """
        if self.ttl_ms is not None:
            return self.ttl_ms
        return None if len(self.program.latest) else RING_PER_WINDOW * self.longest_window_ms

    def rows(self, keys: int) -> Float64s:
        """Return float64 [keys, W]: rows of keys without events."""
        return np.tile(self.fresh, (keys, 1))

    def expired(self, rows: Float64s, now_ms: int) -> Bools:
        """Return bool [k]: which rows of float64 [k, W] are the same as a fresh row for events at ``now_ms`` or later.

        ``now_ms`` is event time: no updating event before it is expected.
        """
        newest = rows[:, NEWEST_TIME]
        if self.retention_ms is None:
            return np.isnan(newest)
        return ~(now_ms - newest <= self.retention_ms)

    def fingerprint(self) -> str:
        """Return a hash, the same in every process, that differs whenever the meaning of rows could differ."""
        content = [self.fed_by, self.retention_ms, [cell.fingerprinted for cell in self.cells]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def declaration(self) -> dict[str, Any]:
        """Return plain JSON values from which ``layout_from_declaration`` restores the layout."""
        measures = [
            [int(kind), value, None if window is None else [window.span_ms, window.buckets]]
            for kind, value, window in self.measures
        ]
        return {"measures": measures, "forget_after_ms": self.ttl_ms, "fed_by": self.fed_by}

    def describe(self, row: Float64s) -> dict[str, Any]:
        """Return the content of a row, float64 [W], as plain JSON values, without the empty buckets of the rings."""
        newest = row[NEWEST_TIME]
        found: dict[str, Any] = {"seen_ms": _json(newest), "last": {}, "windows": {}}
        for at, cell in enumerate(self.cells):
            if cell.window is None and cell.value is not None and cell.is_time:
                found["last"][cell.value] = {"time_ms": _json(row[at]), "value": _json(row[at + 1])}
        for window in self.windows:
            found["windows"][str(window)] = [] if np.isnan(newest) else list(self._buckets(row, window))
        return found

    def _buckets(self, row: Float64s, window: RingWindow) -> Iterator[dict[str, Any]]:
        """Yield the buckets of a ring that are not empty, oldest first."""
        newest = int(row[NEWEST_TIME]) // window.bucket_ms
        of_slot: dict[int, list[int]] = {}
        for at, cell in enumerate(self.cells):
            if cell.window == window:
                of_slot.setdefault(cell.slot, []).append(at)
        for bucket in range(newest - window.slots + 1, newest + 1):
            cells = of_slot[bucket % window.slots]
            if not np.array_equal(row[cells], self.fresh[cells], equal_nan=True):
                described = {_accumulator_name(self.cells[at]): _json(row[at]) for at in cells}
                yield {"from_ms": bucket * window.bucket_ms} | described


def migrate(old: RowLayout, new: RowLayout, rows: Float64s) -> Float64s | None:
    """Return float64 [k, W of new]: rows of ``old`` converted to the layout ``new``.

    None if they lack data, so that the state must be rebuilt from the events: a ring, an accumulator or a last value
    is new, other events update the table, or rows may have expired that the new layout would have kept.
    """
    longer_retention = old.retention_ms is not None and (
        new.retention_ms is None or new.retention_ms > old.retention_ms
    )
    if old.fed_by != new.fed_by or longer_retention:
        return None
    positions = {cell: at for at, cell in enumerate(old.cells)}
    if not positions.keys() >= set(new.cells):
        return None
    return np.ascontiguousarray(rows[:, [positions[cell] for cell in new.cells]])


def layout_from_declaration(declaration: Mapping[str, Any]) -> RowLayout | None:
    """Return the layout of a declaration; None if this version does not know such a declaration."""
    try:
        measures = tuple(
            AggregateSpec(AggregateKind(kind), value, None if window is None else RingWindow(*window))
            for kind, value, window in declaration["measures"]
        )
        return RowLayout(measures, declaration["forget_after_ms"], declaration["fed_by"])
    except (ValueError, LookupError, TypeError, TopologyError):
        return None


def duration_text(ms: int) -> str:
    """Return a duration in the largest unit that divides it: ``6h``, ``90s``."""
    unit, each = next((unit, each) for unit, each in _UNITS if ms % each == 0)
    return f"{ms // each}{unit}"


def _windows(measures: Iterable[AggregateSpec]) -> tuple[RingWindow, ...]:
    return tuple(sorted({measure.window for measure in measures if measure.window is not None}))


def _accumulators(measures: Iterable[AggregateSpec], window: RingWindow) -> list[tuple[str | None, Accumulator]]:
    """Return the accumulators of a slot of the window's ring, ordered by value, starting with those of all events."""
    wanted = {
        (measure.value, accumulator)
        for measure in measures
        if measure.window == window and measure.kind.ring is not None
        for accumulator in measure.kind.ring.accumulators
    }
    return sorted(wanted, key=lambda each: (each[0] or "", each[1]))


def _cells(measures: tuple[AggregateSpec, ...]) -> Iterator[Cell]:
    yield Cell(None, 0, None, None, is_time=True)
    for value in sorted({measure.value or "" for measure in measures if measure.kind is AggregateKind.LAST}):
        yield Cell(None, 0, None, value, is_time=True)
        yield Cell(None, 0, None, value)
    for window in _windows(measures):
        accumulators = _accumulators(measures, window)
        yield from (
            Cell(window, slot, accumulator, value)
            for value, accumulator in accumulators
            for slot in range(window.slots)
        )


def _starts_missing(cell: Cell) -> bool:
    return cell.accumulator in {None, Accumulator.MIN, Accumulator.MAX}


def _program(layout: RowLayout) -> UpdateProgram:
    measures, values = layout.measures, layout.values
    positions = {cell: at for at, cell in enumerate(layout.cells)}
    rings: list[list[int]] = []
    updates: list[tuple[int, ...]] = []
    reads: list[tuple[int, ...]] = []
    for window in layout.windows:
        accumulators = _accumulators(measures, window)
        cells = {
            (value, accumulator): positions[Cell(window, 0, accumulator, value)] for value, accumulator in accumulators
        }
        start = cells[accumulators[0]]
        ring = [window.bucket_ms, window.buckets, start, start + len(accumulators) * window.slots, len(updates)]
        for value, accumulator in accumulators:
            if accumulator is not Accumulator.SQUARES:  # updated together with the mean
                number = values.index(value) if value is not None else 0
                updates.append(
                    (accumulator, number, cells[value, accumulator], cells.get((value, Accumulator.COUNT), 0))
                )
        ring += [len(updates), len(reads)]
        for column, measure in enumerate(measures):
            if measure.window == window and (ring_use := measure.kind.ring) is not None:
                needs = [cells[measure.value, accumulator] for accumulator in ring_use.accumulators]
                reads.append((ring_use.read, column, needs[0], needs[1] if len(needs) > 1 else 0))
        rings.append([*ring, len(reads)])
    times = {cell.value: at for cell, at in positions.items() if cell.is_time}
    lasts = [(values.index(value), at) for value, at in times.items() if value is not None]
    latest = [
        (measure.kind, column, times[measure.value])
        for column, measure in enumerate(measures)
        if measure.window is None
    ]
    tables = ((rings, 8), (updates, 4), (reads, 4), (lasts, 2), (latest, 3))
    return UpdateProgram(*(np.array(table, dtype=np.int64).reshape(-1, width) for table, width in tables))


def _accumulator_name(cell: Cell) -> str:
    accumulator = Accumulator(cell.accumulator or 0).name.lower()
    return accumulator if cell.value is None else f"{accumulator}({cell.value})"


def _json(number: float) -> float | int | None:
    if not np.isfinite(number):
        return None
    return int(number) if number == int(number) else float(number)
