"""surgetank.features.derived: over Arrow columns and in DuckDB, a derived column is the same number or missing."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.errors import TopologyError
from surgetank.features.derived import Above, Derived, Difference, IsNull, Log1p, Ratio, Value, numbers, sql_of
from surgetank.features.spec import FeatureSpec
from tests.support.duckdb_connection import duckdb_connection

anytime = settings(deadline=None)  # tests share their machine

anything = st.none() | st.floats() | st.floats(-10, 10) | st.integers(-3, 3).map(float)
leaves: st.SearchStrategy[Value] = st.sampled_from(["a", "b"])
values: st.SearchStrategy[Value] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Difference, inner, inner),
        st.builds(Ratio, inner, inner),
        st.builds(Log1p, inner),
        st.builds(IsNull, inner),
        st.builds(Above, inner, st.floats(-5, 5)),
    ),
    max_leaves=3,
)


def batch(rows: list[tuple[float | None, float | None]]) -> pa.RecordBatch:
    """Return rows of the columns a and b."""
    columns = {name: pa.array([row[at] for row in rows], pa.float64()) for at, name in enumerate("ab")}
    return pa.record_batch(columns)


def by_sql(value: Value, events: pa.Table) -> np.ndarray[Any, Any]:
    """Return what DuckDB computes, NaN for NULL."""
    connection = duckdb_connection()
    connection.register("events", events)
    found = connection.execute(f"SELECT {sql_of(value)} AS x FROM events").fetchall()
    return np.array([math.nan if x is None else x for (x,) in found], dtype=np.float64)


@pytest.mark.parametrize(
    ("derived", "expected"),
    [
        (Difference("a", "b"), [5, 3, None, None, 9]),
        (Ratio("a", "b"), [3.5, None, None, None, 0.1]),
        (Log1p("a"), [math.log(8), math.log(4), None, None, None]),
        (IsNull("a"), [0, 0, 1, 1, 0]),
        (Above("a", 3), [1, 0, None, None, 0]),
        (Ratio(Difference("a", "b"), "b"), [2.5, None, None, None, -0.9]),
    ],
    ids=lambda each: each.name if isinstance(each, Derived) else "",
)
def test_each_is_what_it_says(derived: Derived, expected: list[float | None]) -> None:
    """The plain definition, in float32, NaN where an operand is missing or the result is not a finite number."""
    column = derived.column(batch([(7.0, 2.0), (3.0, 0.0), (None, 1.0), (math.inf, 1.0), (-1.0, -10.0)]))
    wanted = np.array([math.nan if each is None else each for each in expected], dtype=np.float32)
    assert column.dtype == np.float32
    np.testing.assert_array_equal(column, wanted)


@anytime
@given(values, st.lists(st.tuples(anything, anything), max_size=8))
def test_sql_and_columns_agree(value: Value, rows: list[tuple[float | None, float | None]]) -> None:
    """Whatever the operands hold, both give the same number within the last digits, or both nothing.

    The smallest numbers have but one digit, so there the last digit is all of them.
    """
    events = batch(rows)
    last_digit = np.nextafter(0.0, 1.0)
    np.testing.assert_allclose(by_sql(value, pa.table(events)), numbers(value, events), rtol=1e-12, atol=last_digit)


@anytime
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=8), st.lists(st.none() | st.booleans()))
def test_a_plain_column_is_exact(integers: list[int | None], truths: list[bool | None]) -> None:
    """Integers become the nearest double, truth values 0 and 1, in both, bit for bit."""
    rows = min(len(integers), len(truths))
    events = pa.record_batch({"a": pa.array(integers[:rows], pa.int64()), "b": pa.array(truths[:rows], pa.bool_())})
    for name in ("a", "b"):
        np.testing.assert_array_equal(by_sql(name, pa.table(events)), numbers(name, events))


def test_what_is_not_finite_is_missing() -> None:
    """NaN and infinities count as null, in a column and as the result of one."""
    found = numbers("a", batch([(math.nan, None), (math.inf, None), (-math.inf, None), (1.0, None)]))
    np.testing.assert_array_equal(found, [math.nan, math.nan, math.nan, 1.0])
    np.testing.assert_array_equal(numbers(Difference("a", "b"), batch([(1e308, -1e308)])), [math.nan])


def test_inputs_are_the_columns_below() -> None:
    """The columns that nested operands read, each once, in the order of first use."""
    assert Ratio(Difference("b", "a"), Log1p("b")).inputs == ("b", "a")


def test_names_say_how_they_are_nested() -> None:
    """Columns that are computed differently are named differently."""
    assert Difference("a", Difference("b", "c")).name == "a_minus_(b_minus_c)"
    assert Difference(Difference("a", "b"), "c").name == "(a_minus_b)_minus_c"
    assert Above("a", 15).name == "a_above_15"
    assert Above("a", 0.1 + 0.2).name == "a_above_0.30000000000000004"


def test_a_quote_in_a_name_stays_a_name() -> None:
    """SQL reads the column of that name, whatever characters it has."""
    name = 'x" + 1 AS "y'
    assert by_sql(Difference(name, name), pa.table({name: [2.5]})) == [0.0]


def test_kinds_of_the_same_fields_have_other_fingerprints() -> None:
    """The declaration names each operand's kind, so that what computes otherwise is never taken for the same."""
    one, other = Above(Log1p("a"), 1), Above(IsNull("a"), 1)
    assert one.declaration()["value"]["kind"] == "Log1p"
    assert FeatureSpec((one,)).fingerprint() != FeatureSpec((other,)).fingerprint()


def test_it_takes_numbers_only() -> None:
    """A text is refused at start, with the feature's name."""
    with pytest.raises(TopologyError, match="'log1p_of_a' reads column 'a', which is string"):
        FeatureSpec((Log1p("a"),)).check(pa.schema({"a": pa.string()}))


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_a_bound_is_a_finite_number(bound: float) -> None:
    """A bound that nothing or everything is above is refused."""
    with pytest.raises(TopologyError, match="finite"):
        Above("a", bound)
