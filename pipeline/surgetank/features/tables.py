"""Declarations of keyed state: tables, and aggregates of each key's events over event time.

    departures = Events("flights.departures", schema="departure", key="tailnum", time="departed_at")
    aircraft = Table("aircraft", facts=departures)
    cards = Table("cards")
    features = [aircraft.last("dep_delay"), aircraft.mean("dep_delay", window=hours(6)), cards.count(window=days(1))]

A table with ``facts`` is updated by those events, which are not scored; a table without is updated by the pipeline's
own events. An event sees the state before it, without its own update. ``row_layout`` defines the stored row,
``windows`` the exact semantics of windows.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from surgetank.errors import TopologyError
from surgetank.features.aggregate_kinds import AggregateKind
from surgetank.features.derived import Value, inputs_of, is_number, name_of, numbers, sql_of
from surgetank.features.row_layout import AggregateSpec, RingWindow, RowLayout, duration_text
from surgetank.features.spec import Float64s, Input

BUCKETS = 12

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_MILLISECOND = timedelta(milliseconds=1)


class Facts(Protocol):
    """The events that update a table. ``pipeline.Events`` implements it."""

    @property
    def topic(self) -> str:
        """The topic of the events."""
        ...

    @property
    def schema(self) -> str:
        """The name of the schema."""
        ...

    @property
    def key(self) -> str | None:
        """The field that the record key repeats."""
        ...

    @property
    def time(self) -> str:
        """The field with the event time."""
        ...


def seconds(count: float) -> timedelta:
    """Return a duration of ``count`` seconds."""
    return timedelta(seconds=count)


def minutes(count: float) -> timedelta:
    """Return a duration of ``count`` minutes."""
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    """Return a duration of ``count`` hours."""
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    """Return a duration of ``count`` days of 24 hours."""
    return timedelta(days=count)


@dataclass(frozen=True, slots=True)
class Table:
    """State by key, of the keys of ``facts`` or of the pipeline's own events.

    ``ttl``: a last value or time older than this, relative to the event, is missing. A row expires when its key had no
    event for that long. Without a ttl, rows of a table with windows only expire after twice the longest window; a table
    that also holds last values or times keeps every key forever.
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
                f"table {self.name!r}: its facts, {self.facts.topic!r}, have no key; set key= to the field of the key"
            )
        if self.ttl is not None:
            _whole_ms(self.ttl, f"table {self.name!r}: ttl")

    def count(self, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Count the events of the key, whatever the values of their fields; 0 if there are none."""
        return Aggregate(self, AggregateKind.COUNT, None, self._window(window, buckets))

    def sum(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Sum the values that are not null; 0 if there are none."""
        return Aggregate(self, AggregateKind.SUM, value, self._window(window, buckets))

    def mean(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Compute the mean of the values that are not null; missing if there are none."""
        return Aggregate(self, AggregateKind.MEAN, value, self._window(window, buckets))

    def min(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Compute the smallest value; missing if there is none."""
        return Aggregate(self, AggregateKind.MIN, value, self._window(window, buckets))

    def max(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Compute the greatest value; missing if there is none."""
        return Aggregate(self, AggregateKind.MAX, value, self._window(window, buckets))

    def std(self, value: Value, *, window: timedelta, buckets: int = BUCKETS) -> "Aggregate":
        """Compute the population standard deviation (0 for a single value); missing if there is no value."""
        return Aggregate(self, AggregateKind.STD, value, self._window(window, buckets))

    def last(self, value: Value) -> "Aggregate":
        """Return the non-null value with the greatest event time; of equal times, the one processed last."""
        return Aggregate(self, AggregateKind.LAST, value)

    def seconds_since_last(self) -> "Aggregate":
        """Return the seconds since the greatest event time so far: negative if earlier, missing for the first event."""
        return Aggregate(self, AggregateKind.SECONDS_SINCE_LAST)

    @property
    def ttl_ms(self) -> int | None:
        """``ttl`` in milliseconds."""
        return None if self.ttl is None else self.ttl // _MILLISECOND

    @property
    def fed_by(self) -> dict[str, str | None] | None:
        """The properties of the facts that determine the rows; None if the pipeline's own events update the table."""
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
    """One number computed from the state of a key. Created by the methods of ``Table``."""

    table: Table
    kind: AggregateKind
    value: Value | None = None
    window: RingWindow | None = None

    def __post_init__(self) -> None:
        if self.value is not None:
            try:
                sql_of(self.value)
            except TopologyError as error:
                raise TopologyError(f"table {self.table.name!r}: {error}") from None

    @property
    def name(self) -> str:
        """The name, for example ``cards_mean_amount_10m``, with ``_in_5`` if there are 5 buckets, not 12."""
        parts = [self.table.name, self.kind.name.lower()]
        if self.value is not None:
            parts.append(name_of(self.value))
        if self.window is not None:
            parts.append(duration_text(self.window.span_ms))
            parts += [f"in_{self.window.buckets}"] if self.window.buckets != BUCKETS else []
        return "_".join(parts)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the pipeline's own events that update the aggregate; none if facts update the table."""
        return self.source_columns if self.table.facts is None else ()

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns read from the events that update the table."""
        return () if self.value is None else inputs_of(self.value)

    @property
    def expects(self) -> str:
        """The accepted type: a number or boolean."""
        return "a number or boolean"

    def takes(self, dtype: pa.DataType) -> bool:
        """Accept integers, floats and booleans."""
        return is_number(dtype)

    @property
    def aggregates(self) -> tuple[Input, ...]:
        """The aggregate itself."""
        return (self,)

    def evaluate(self, columns: pa.RecordBatch, aggregates: Mapping[str, Float64s]) -> Float64s:  # noqa: ARG002
        """Return float64 [m]: the values that were read from the table."""
        return aggregates[self.name]

    @property
    def measure(self) -> AggregateSpec:
        """The cells that the aggregate needs in a state row."""
        value = self.value if self.value is None or isinstance(self.value, str) else repr(self.value)
        return AggregateSpec(self.kind, value, self.window)

    def declaration(self) -> dict[str, Any]:
        """Return kind, name, source of the table and aggregated value as plain JSON values."""
        window = self.window
        return {
            "kind": self.kind.name.lower(),
            "name": self.name,
            "table": self.table.name,
            "fed_by": self.table.fed_by,
            "forget_after_ms": self.table.ttl_ms,
            "value": self.value.declaration() if isinstance(self.value, Input) else self.value,
            "window_ms": window.span_ms if window else None,
            "buckets": window.buckets if window else None,
        }


@dataclass(frozen=True, slots=True)
class TableState:
    """The state that a pipeline needs of one table: its aggregates in order, and the layout of the row for them."""

    table: Table
    aggregates: tuple[Aggregate, ...]
    layout: RowLayout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        measures = tuple(each.measure for each in self.aggregates)
        try:
            # The text is in the fingerprint of stores and changelogs: it never changes.
            layout = RowLayout(measures, self.table.ttl_ms, repr(self.table.fed_by or "the pipeline's events"))
        except TopologyError as error:
            raise TopologyError(f"table {self.table.name!r}: {error}") from error
        object.__setattr__(self, "layout", layout)

    @property
    def values(self) -> tuple[Value, ...]:
        """The aggregated values, in the order of ``layout.values``."""
        named = {each.measure.value: each.value for each in self.aggregates}
        return tuple(value for name in self.layout.values if (value := named[name]) is not None)

    def numbers(self, columns: pa.RecordBatch) -> Float64s:
        """Return float64 [n, V], C-contiguous: the values of n events that update the table, NaN for null."""
        found = np.empty((columns.num_rows, len(self.values)))
        for position, value in enumerate(self.values):
            found[:, position] = numbers(value, columns)
        return found

    def check(self, schema: pa.Schema) -> None:
        """Raise TopologyError, naming aggregate and column, if events of this schema cannot update the table."""
        facts = self.table.facts
        for each in self.aggregates:
            for column in each.source_columns:
                if column not in schema.names:
                    raise TopologyError(
                        f"aggregate {each.name!r} reads column {column!r}, which the events that update table "
                        f"{self.table.name!r} do not have; they have: {', '.join(schema.names)}"
                    )
                if not each.takes(schema.field(column).type):
                    raise TopologyError(
                        f"aggregate {each.name!r} reads column {column!r}, which is {schema.field(column).type} in "
                        f"the events that update table {self.table.name!r}; it must be {each.expects}"
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
    """Return the state needed of each table for the aggregates of the inputs, in the order of first use.

    Raises TopologyError if two different tables share a name.
    """
    found: dict[str, list[Aggregate]] = {}
    for each in dict.fromkeys(aggregate for input_ in inputs for aggregate in input_.aggregates):
        if isinstance(each, Aggregate):
            same = found.setdefault(each.table.name, [])
            if same and same[0].table != each.table:
                raise TopologyError(f"two different tables are named {each.table.name!r}; rename one of them")
            same.append(each)
    return tuple(TableState(statistics[0].table, tuple(statistics)) for statistics in found.values())


def _whole_ms(span: timedelta, what: str) -> int:
    if span < _MILLISECOND or span % _MILLISECOND:
        raise TopologyError(f"{what} is {span}; it must be a whole number of milliseconds, 1 or more")
    return span // _MILLISECOND
