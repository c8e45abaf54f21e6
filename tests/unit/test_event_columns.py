"""surgetank.event_columns: fields of records by their path, and whole numbers that are times."""

import re
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank import Events
from surgetank.errors import TopologyError
from surgetank.event_columns import EventColumns, root_columns

INNER = pa.struct([pa.field("b", pa.int64(), nullable=False), pa.field("c", pa.struct([("d", pa.string())]))])
SCHEMA = pa.schema([pa.field("a", INNER), pa.field("t", pa.int64())])
ROWS = st.fixed_dictionaries(
    {
        "a": st.none()
        | st.fixed_dictionaries(
            {"b": st.integers(-9, 9), "c": st.none() | st.fixed_dictionaries({"d": st.none() | st.text(max_size=3)})}
        ),
        "t": st.none() | st.integers(-(10**15), 10**15),
    }
)


def value_at(row: dict[str, Any] | None, path: str) -> Any:
    """Return the value of a field by its path, None where a record on the path is null."""
    value: Any = row
    for name in path.split("."):
        value = None if value is None else value[name]
    return value


@given(st.lists(ROWS, max_size=10), st.integers(0, 10))
def test_a_path_is_null_where_a_record_on_it_is(rows: list[dict[str, Any]], first: int) -> None:
    """Each path is a column of the values at its end, in a batch, a slice of it, and a table."""
    columns = EventColumns(SCHEMA, {"a.b": "us"}, "events")
    batch = pa.RecordBatch.from_pylist(rows, schema=SCHEMA).slice(first)
    for found in (columns.of(batch), columns.of(pa.Table.from_batches([batch, batch]).slice(0, len(batch)))):
        assert found.schema == columns.schema
        assert found.schema.names == ["a", "t", "a.b", "a.c", "a.c.d"]
        for path in ("a", "t", "a.c", "a.c.d"):
            assert found[path].to_pylist() == [value_at(row, path) for row in rows[first:]]
        assert found["a.b"].type == pa.timestamp("us", "UTC")
        assert found["a.b"].cast(pa.int64()).to_pylist() == [value_at(row, "a.b") for row in rows[first:]]


def test_columns_that_can_be_named_already_stay() -> None:
    """A schema with the columns is its own result, and so are its rows."""
    first = EventColumns(SCHEMA, {"t": "ms"}, "events")
    again = EventColumns(first.schema, {"t": "ms"}, "events")
    batch = first.of(pa.RecordBatch.from_pylist([{"a": None, "t": 1}], schema=SCHEMA))
    assert again.schema == first.schema
    assert again.of(batch) is batch
    assert not EventColumns(pa.schema({"x": pa.int64()}), {}, "events").changes


@pytest.mark.parametrize(
    ("unit", "number", "moment"),
    [
        ("s", 1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        ("ms", 1_700_000_000_123, datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)),
        ("us", 1_700_000_000_123_456, datetime(2023, 11, 14, 22, 13, 20, 123_456, tzinfo=UTC)),
    ],
)
def test_whole_numbers_are_times_in_their_unit(unit: Any, number: int, moment: datetime) -> None:
    """So are ints, which hold seconds until 2038."""
    columns = EventColumns(SCHEMA, {"t": unit}, "events")
    assert columns.of(pa.RecordBatch.from_pylist([{"t": number}, {"t": None}], schema=SCHEMA))["t"].to_pylist() == [
        moment,
        None,
    ]
    ints = pa.schema({"t": pa.int32()})
    small = EventColumns(ints, {"t": unit}, "events").of(pa.RecordBatch.from_pylist([{"t": 7}], schema=ints))
    assert small["t"].cast(pa.int64()).to_pylist() == [7]


def test_seconds_that_overflow_milliseconds_are_the_limit() -> None:
    """They stay implausible: without a limit their milliseconds could be any time."""
    columns = EventColumns(SCHEMA, {"t": "s"}, "events")
    batch = pa.RecordBatch.from_pylist([{"t": 2**63 - 1}, {"t": -(2**63)}, {"t": None}], schema=SCHEMA)
    limit = (2**63 - 1) // 1000
    assert columns.of(batch)["t"].cast(pa.int64()).to_pylist() == [limit, -limit, None]


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"a.x": "ms"}, "time_units names field 'a.x', which the events do not have; they have: a, t, at, a.b"),
        ({"a.c.d": "ms"}, "time_units names field 'a.c.d', which is string; a unit is declared of a whole number only"),
        ({"at": "us"}, "time_units says that field 'at' is in 'us', but its type in the schema is a timestamp in 'ms'"),
    ],
)
def test_a_time_unit_contradicts_the_type(units: Any, message: str) -> None:
    """The message names the field and says what to do; the unit of the type itself is no contradiction."""
    schema = SCHEMA.append(pa.field("at", pa.timestamp("ms")))
    with pytest.raises(TopologyError, match=re.escape(message)):
        EventColumns(schema, units, "events")
    assert EventColumns(schema, {"at": "ms"}, "events").schema.field("at").type == pa.timestamp("ms")


def test_an_unknown_time_unit_is_refused_at_import() -> None:
    """With the units that there are."""
    with pytest.raises(TopologyError, match="the time unit of 't' is 'minutes'; it must be one of s, ms, us, ns"):
        Events("events", schema="event", time="t", time_units={"t": "minutes"})  # type: ignore[dict-item]


def test_the_roots_of_paths() -> None:
    """A column of the whole name is preferred; a name that is not there stays, so that it can be reported."""
    schema = SCHEMA.append(pa.field("a.b", pa.int64()))
    assert root_columns(["a.b", "a.c.d", "a.c", "t", "x.y"], schema) == ["a.b", "a", "t", "x.y"]
