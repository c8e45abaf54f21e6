"""What an author declares of memory: tables, and statistics of each key over event time.

    left = Events("flights.departures", schema="departure", key="tailnum", time="departed_at")
    aircraft = Table("aircraft", facts=left)
    cards = Table("cards")
    features = [aircraft.last("dep_delay"), aircraft.mean("dep_delay", window=hours(6)), cards.count(window=days(1))]

A table with ``facts`` is fed by those events, which are not scored; one without is fed by the pipeline's own. An event
sees what was processed before it, never itself. ``layout`` says what is kept, ``windows`` what exactly is seen.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.errors import TopologyError
from pipeline.features.derived import Derived, Value, inputs_of, is_number, name_of, numbers
from pipeline.features.row_layout import AggregateKind, AggregateSpec, RingWindow, RowLayout, span_text
from pipeline.features.spec import Float64s, Input

BUCKETS = 12

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_MILLISECOND = timedelta(milliseconds=1)


class Facts(Protocol):
    """The events that feed a table: what ``pipeline.Events`` has."""

    @property
    def topic(self) -> str:
        """The topic that they are read from."""
        ...

    @property
    def schema(self) -> str:
        """The name of their schema."""
        ...

    @property
    def key(self) -> str | None:
        """The field that the record key repeats."""
        ...

    @property
    def time(self) -> str:
        """The field of the event time."""
        ...


def seconds(count: float) -> timedelta:
    """Return a span of so many seconds."""
    return timedelta(seconds=count)


def minutes(count: float) -> timedelta:
    """Return a span of so many minutes."""
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    """Return a span of so many hours."""
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    """Return a span of so many days of 24 hours."""
    return timedelta(days=count)


@dataclass(frozen=True, slots=True)
class Table:
    """The memory of keys: those of ``facts``, or of the pipeline's own events.

    ``forget_after``: what a key last did is missing to an event that is later by more than this. A table forgets a key
    that was not seen for so long; without it, a table of windows only forgets a key after twice its longest window, and
    one that also holds last values or times keeps every key for ever.
    """

    name: str
    facts: Facts | None = None
    ttl: timedelta | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TopologyError(
                f"table name {self.name!r}: use lower-case letters, digits and dashes, at most 63, a letter first"
            )
        if self.facts is not None and self.facts.key is None:
            raise TopologyError(
                f"table {self.name!r}: its facts, {self.facts.topic!r}, have no key; say which field is it: key="
            )
        if self.ttl is not None:
            _whole_ms(self.ttl, f"table {self.name!r}: forget_after")

    def count(self, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Count the events of the key, whatever their fields hold; 0 if there are none."""
        return Aggregate(self, AggregateKind.COUNT, None, self._window(window, buckets))

    def sum(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Add up what is not null; 0 if there is nothing."""
        return Aggregate(self, AggregateKind.SUM, value, self._window(window, buckets))

    def mean(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Take the mean of what is not null; missing if there is nothing."""
        return Aggregate(self, AggregateKind.MEAN, value, self._window(window, buckets))

    def min(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Take the smallest; missing if there is nothing."""
        return Aggregate(self, AggregateKind.MIN, value, self._window(window, buckets))

    def max(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Take the greatest; missing if there is nothing."""
        return Aggregate(self, AggregateKind.MAX, value, self._window(window, buckets))

    def std(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Take the standard deviation of the population (0 of one value); missing if there is nothing."""
        return Aggregate(self, AggregateKind.STD, value, self._window(window, buckets))

    def last(self, value: Value) -> "Aggregate":
        """Take the non-null value of the greatest event time, of equal times the one processed later."""
        return Aggregate(self, AggregateKind.LAST, value)

    def seconds_since_last(self) -> "Aggregate":
        """Measure from the greatest event time so far: negative for an event before it, missing for the first."""
        return Aggregate(self, AggregateKind.SECONDS_SINCE_LAST)

    @property
    def ttl_ms(self) -> int | None:
        """``forget_after`` in milliseconds."""
        return None if self.ttl is None else self.ttl // _MILLISECOND

    @property
    def fed_by(self) -> dict[str, str | None] | None:
        """What of the facts the rows depend on; None: on the pipeline's own events."""
        facts = self.facts
        if facts is None:
            return None
        return {"topic": facts.topic, "schema": facts.schema, "key": facts.key, "time": facts.time}

    def _window(self, span: timedelta, buckets: int) -> RingWindow:
        ms = _whole_ms(span, f"table {self.name!r}: window")
        try:
            return RingWindow(ms, buckets)
        except TopologyError as error:
            raise TopologyError(f"table {self.name!r}: {error}") from error


@dataclass(frozen=True, slots=True)
class Aggregate(Input):
    """One number that a table remembers of a key. A table's methods make it."""

    table: Table
    kind: AggregateKind
    value: Value | None = None
    window: RingWindow | None = None

    @property
    def name(self) -> str:
        """Such as ``cards_mean_amount_10m``, with ``_in_5`` where the buckets are not twelve."""
        parts = [self.table.name, self.kind.name.lower()]
        if self.value is not None:
            parts.append(name_of(self.value))
        if self.window is not None:
            parts.append(span_text(self.window.span_ms))
            parts += [f"in_{self.window.buckets}"] if self.window.buckets != BUCKETS else []
        return "_".join(parts)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the pipeline's own events that feed it; none where facts do."""
        return self.fed_with if self.table.facts is None else ()

    @property
    def fed_with(self) -> tuple[str, ...]:
        """The columns of the events that feed the table which it reads."""
        return () if self.value is None else inputs_of(self.value)

    @property
    def expects(self) -> str:
        """A number or truth value."""
        return "a number or boolean"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept integers, floats and booleans."""
        return is_number(dtype)

    @property
    def measure(self) -> AggregateSpec:
        """What it asks of a state row."""
        value = repr(self.value) if isinstance(self.value, Derived) else self.value
        return AggregateSpec(self.kind, value, self.window)

    def declaration(self) -> dict[str, Any]:
        """Return kind, name, what feeds the table and what is taken of it, as plain JSON values."""
        window = self.window
        return {
            "kind": self.kind.name.lower(),
            "name": self.name,
            "table": self.table.name,
            "fed_by": self.table.fed_by,
            "forget_after_ms": self.table.ttl_ms,
            "value": self.value.declaration() if isinstance(self.value, Derived) else self.value,
            "window_ms": window.span_ms if window else None,
            "buckets": window.buckets if window else None,
        }


@dataclass(frozen=True, slots=True)
class TableState:
    """All that a pipeline wants of one table: its statistics, in order, and the state row that holds them."""

    table: Table
    statistics: tuple[Aggregate, ...]
    layout: RowLayout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        measures = tuple(each.measure for each in self.statistics)
        try:
            # The text is in the fingerprint of stores and changelogs: it never changes.
            layout = RowLayout(measures, self.table.ttl_ms, repr(self.table.fed_by or "the pipeline's events"))
        except TopologyError as error:
            raise TopologyError(f"table {self.table.name!r}: {error}") from error
        object.__setattr__(self, "layout", layout)

    @property
    def values(self) -> tuple[Value, ...]:
        """What the statistics are taken of, in the order of ``layout.values``."""
        named = {each.measure.value: each.value for each in self.statistics}
        return tuple(value for name in self.layout.values if (value := named[name]) is not None)

    def numbers(self, columns: pa.RecordBatch) -> Float64s:
        """Return float64 [n, V], C-contiguous: the values of n events that feed the table, NaN for null."""
        found = np.empty((columns.num_rows, len(self.values)))
        for position, value in enumerate(self.values):
            found[:, position] = numbers(value, columns)
        return found

    def check(self, schema: pa.Schema) -> None:
        """Raise TopologyError, naming statistic and column, if events of this schema cannot feed the table."""
        facts = self.table.facts
        for each in self.statistics:
            for column in each.fed_with:
                if column not in schema.names:
                    raise TopologyError(
                        f"statistic {each.name!r} reads column {column!r}, which the events that feed table "
                        f"{self.table.name!r} do not have; they have: {', '.join(schema.names)}"
                    )
                if not each.takes(schema.field(column).type):
                    raise TopologyError(
                        f"statistic {each.name!r} reads column {column!r}, which is {schema.field(column).type} in "
                        f"the events that feed table {self.table.name!r}; it must be {each.expects}"
                    )
        if facts is not None:
            for role, name in (("key", facts.key), ("time", facts.time)):
                if name not in schema.names:
                    raise TopologyError(
                        f"table {self.table.name!r}: facts.{role} names field {name!r}, which schema {facts.schema!r} "
                        f"does not have; it has {', '.join(schema.names)}"
                    )
            if not pa.types.is_timestamp(schema.field(facts.time).type):
                raise TopologyError(
                    f"table {self.table.name!r}: facts.time names field {facts.time!r}, which is not a timestamp"
                )


def table_states(inputs: Iterable[Input]) -> tuple[TableState, ...]:
    """Return what is wanted of each table, in the order of first use. TopologyError if two tables share a name."""
    found: dict[str, list[Aggregate]] = {}
    for each in inputs:
        if isinstance(each, Aggregate):
            same = found.setdefault(each.table.name, [])
            if same and same[0].table != each.table:
                raise TopologyError(f"two different tables are named {each.table.name!r}; give each its own name")
            same.append(each)
    return tuple(TableState(statistics[0].table, tuple(statistics)) for statistics in found.values())


def _whole_ms(span: timedelta, what: str) -> int:
    if span < _MILLISECOND or span % _MILLISECOND:
        raise TopologyError(f"{what} is {span}; it must be 1 or more whole milliseconds")
    return span // _MILLISECOND
