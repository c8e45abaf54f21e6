"""surgetank.features.derived: over Arrow columns and in DuckDB, a derived column is the same number or missing."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.errors import TopologyError
from surgetank.features.arithmetic import Difference, Product, Ratio, Sum
from surgetank.features.columns import Category
from surgetank.features.derived import Above, Derived, IsNull, Log1p, Value, numbers, sql_of
from surgetank.features.spec import FeatureSpec
from surgetank.features.tables import Table, days, hours
from tests.support.duckdb_connection import duckdb_connection

anytime = settings(deadline=None)  # tests share their machine

anything = st.none() | st.floats() | st.floats(-10, 10) | st.integers(-3, 3).map(float)
leaves: st.SearchStrategy[Value] = st.sampled_from(["a", "b"])
values: st.SearchStrategy[Value] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Difference, inner, inner),
        st.builds(Ratio, inner, inner),
        st.builds(Sum, inner, inner),
        st.builds(Product, inner, inner),
        st.builds(Log1p, inner),
        st.builds(IsNull, inner),
        st.builds(Above, inner, st.floats(-5, 5)),
    ),
    max_leaves=3,
)


CARDS_MEAN = Table("cards").mean("a", window=hours(1))


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
        (Sum("a", "b"), [9, 3, None, None, -11]),
        (Product("a", "b"), [14, 0, None, None, 10]),
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


def test_an_operand_may_be_a_feature_or_an_aggregate() -> None:
    """Computed in float64 from the aggregate before it is rounded, missing where the aggregate is missing."""
    spec = FeatureSpec((Ratio("a", CARDS_MEAN), IsNull(CARDS_MEAN), Difference(Category("c", ("x", "y")), "a")))
    events = pa.record_batch({"a": [1.0, 1.0, None], "c": ["y", "?", "x"]})

    found = spec.matrix(events, {CARDS_MEAN.name: np.array([3.0, np.nan, 4.0])})

    expected = np.array([[1 / 3, 0, 0], [np.nan, 1, np.nan], [np.nan, 0, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(found, expected)
    assert spec.names[0] == "a_per_(cards_mean_a_1h)"
    assert spec.inputs == ("a", "c")
    assert spec.aggregates == (CARDS_MEAN,)


def test_a_null_flag_reads_a_column_of_any_type() -> None:
    """Texts and times: 1 where null, else 0."""
    events = pa.record_batch({"c": ["x", None], "t": pa.array([None, 5], pa.timestamp("ms", "UTC"))})
    spec = FeatureSpec((IsNull("c"), IsNull("t")))
    spec.check(events.schema)
    np.testing.assert_array_equal(spec.matrix(events), [[0, 1], [1, 0]])


def test_an_operand_is_checked_by_its_own_types() -> None:
    """A category as an operand reads a text, the column beside it a number."""
    mixed = FeatureSpec((IsNull(Log1p("a")), Difference(Category("c", ("x",)), "a")))
    mixed.check(pa.schema({"a": pa.float64(), "c": pa.string()}))
    with pytest.raises(TopologyError, match="'log1p_of_a' reads column 'a', which is string"):
        mixed.check(pa.schema({"a": pa.string(), "c": pa.string()}))


def test_the_fingerprint_has_the_declaration_of_an_operand() -> None:
    """Another window of an aggregate below a feature is another feature, as another time to live is."""
    day = Ratio("a", Table("cards").mean("a", window=days(1)))
    hour = Ratio("a", CARDS_MEAN)
    old = Ratio("a", Table("cards", ttl=days(9)).mean("a", window=hours(1)))
    assert len({FeatureSpec((each,)).fingerprint() for each in (day, hour, old)}) == 3


def test_fingerprints_of_earlier_declarations_stay() -> None:
    """Bundles and feature logs name them: numbers of one event and of a table, as they were before operands grew."""
    spec = FeatureSpec((Ratio(Difference("a", "b"), "b"), Above(Log1p("a"), 2), IsNull("b"), CARDS_MEAN))
    assert spec.fingerprint() == "c62c8e04e47201f70cc408cf08cba871e5c3b5bd4adf34f495ffbd7907975ee7"


def test_an_aggregate_does_not_read_an_aggregate() -> None:
    """State of state has no order of updates: it is refused where it is declared, with the table."""
    with pytest.raises(TopologyError, match="table 'cards': 'cards_mean_a_1h' cannot be aggregated"):
        Table("cards").max(Ratio("a", CARDS_MEAN), window=hours(1))


def test_two_aggregates_below_features_have_different_names() -> None:
    """Values of aggregates are kept by name: one name for two is refused."""
    one, other = (Table("cards", ttl=ttl).last("a") for ttl in (days(1), days(2)))
    with pytest.raises(TopologyError, match="two aggregates are named 'cards_last_a'"):
        FeatureSpec((Ratio("a", one), Difference("a", other)))


def test_it_takes_numbers_only() -> None:
    """A text is refused at start, with the feature's name."""
    with pytest.raises(TopologyError, match="'log1p_of_a' reads column 'a', which is string"):
        FeatureSpec((Log1p("a"),)).check(pa.schema({"a": pa.string()}))


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_a_bound_is_a_finite_number(bound: float) -> None:
    """A bound that nothing or everything is above is refused."""
    with pytest.raises(TopologyError, match="finite"):
        Above("a", bound)
