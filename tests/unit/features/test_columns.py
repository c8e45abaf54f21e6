"""surgetank.features.columns: each feature equals its plain definition, whatever the columns hold."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank import Category, DayOfWeek, Elapsed, Field, HourOfDay, Month
from surgetank.errors import TopologyError
from surgetank.features.spec import Feature

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": timedelta(seconds=1), "ms": timedelta(milliseconds=1), "us": timedelta(microseconds=1)}
INT64_MAX = 2**63 - 1

anytime = settings(deadline=None)  # tests share their machine

moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
)
columns_of_moments = st.lists(st.none() | moments, max_size=20)


def batch(**columns: pa.Array) -> pa.RecordBatch:
    """Return the columns as a batch."""
    return pa.record_batch(columns)


def times(values: list[datetime | None], unit: str = "ms", tz: str | None = "UTC") -> pa.Array:
    """Return the moments as timestamps of this unit and zone."""
    ticks = [None if value is None else (value - EPOCH) // UNITS[unit] for value in values]
    return pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, tz))


def same(column: np.ndarray[Any, Any], expected: Sequence[float | None]) -> None:
    """Assert float32 [m] with NaN for None."""
    assert column.dtype == np.float32
    wanted = np.array([math.nan if value is None else value for value in expected], dtype=np.float32)
    np.testing.assert_array_equal(column, wanted)


@anytime
@given(st.lists(st.none() | st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_integers_become_float32(values: list[int | None]) -> None:
    """A Field of integers is those integers rounded to float32, null is NaN."""
    same(Field("x").column(batch(x=pa.array(values, pa.int32()))), values)


@anytime
@given(st.lists(st.none() | st.floats(allow_nan=True), max_size=20))
def test_doubles_become_float32(values: list[float | None]) -> None:
    """A Field of doubles is rounded; beyond float32 it is infinite, without a warning or an error."""
    with np.errstate(over="ignore"):
        same(Field("x").column(batch(x=pa.array(values, pa.float64()))), values)


@anytime
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20))
def test_a_number_does_not_depend_on_its_company(values: list[int]) -> None:
    """An integer is rounded in the same way whether or not another row of the batch is null."""
    alone = Field("x").column(batch(x=pa.array(values, pa.int64())))
    beside_null = Field("x").column(batch(x=pa.array([*values, None], pa.int64())))
    np.testing.assert_array_equal(alone, beside_null[:-1])
    same(alone, np.array(values, dtype=np.int64).astype(np.float32).tolist())


def test_truth_values_become_one_and_zero() -> None:
    """A Field of booleans is 1 for true, 0 for false, NaN for null."""
    same(Field("x").column(batch(x=pa.array([True, None, False]))), [1, None, 0])


@anytime
@given(st.lists(st.none() | st.sampled_from(["a", "b", "c", "", "ä", "elsewhere"]), max_size=20))
def test_a_category_is_its_place(values: list[str | None]) -> None:
    """A Category is the place in the vocabulary; null and unknown texts are NaN, in every encoding."""
    vocabulary = ("b", "ä", "a")
    expected = [float(vocabulary.index(value)) if value in vocabulary else None for value in values]
    plain = pa.array(values, pa.string())
    for encoded in (plain, plain.cast(pa.large_string()), plain.dictionary_encode()):
        assert Category("x", vocabulary).takes(encoded.type)
        same(Category("x", vocabulary).column(batch(x=encoded)), expected)


@anytime
@given(columns_of_moments, st.sampled_from(sorted(UNITS)), st.sampled_from(["UTC", "+00:00", None]))
def test_the_calendar_is_that_of_utc(values: list[datetime | None], unit: str, tz: str | None) -> None:
    """Hour, weekday and month are those of Python's datetime in UTC, before 1970 too, in every unit."""
    columns = batch(t=times(values, unit, tz))
    hours = [math.nan if v is None else v.hour + v.minute / 60 + v.second / 3600 for v in values]
    np.testing.assert_allclose(HourOfDay("t").column(columns), np.array(hours, np.float64), rtol=0, atol=2e-6)
    same(DayOfWeek("t").column(columns), [None if v is None else v.weekday() for v in values])
    same(Month("t").column(columns), [None if v is None else v.month for v in values])


@anytime
@given(st.lists(st.tuples(st.none() | moments, st.none() | moments), max_size=20))
def test_elapsed_is_the_difference(pairs: list[tuple[datetime | None, datetime | None]]) -> None:
    """Elapsed is end minus start in the unit, also between columns of different units."""
    starts, ends = [start for start, _ in pairs], [end for _, end in pairs]
    columns = batch(a=times(starts, "ms"), b=times(ends, "us"))
    expected = [None if a is None or b is None else (b - a) / timedelta(minutes=1) for a, b in pairs]
    same(Elapsed("a", "b", unit="minutes").column(columns), expected)


FEATURES: list[Feature] = [HourOfDay("t"), DayOfWeek("t"), Month("t"), Elapsed("t", "u", unit="hours")]


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_no_time_is_too_absurd(feature: Feature, unit: str) -> None:
    """Every 64-bit number as a time gives some number: a producer's nonsense stops nobody."""
    absurd = pa.array([INT64_MAX, -INT64_MAX, -INT64_MAX - 1, None], pa.int64()).cast(pa.timestamp(unit, "UTC"))
    column = feature.column(batch(t=absurd, u=absurd[::-1]))
    assert column.dtype == np.float32
    assert len(column) == 4
    assert np.isnan(column[3])


@pytest.mark.parametrize("feature", [Field("n"), Category("s", ("x", "y")), *FEATURES], ids=lambda f: f.name)
def test_a_part_of_a_batch_gives_that_part(feature: Feature) -> None:
    """A sliced batch (its buffers start elsewhere) gives the same rows as slicing the column."""
    whole = batch(
        n=pa.array([1, None, 3, 4]),
        s=pa.array(["x", "y", None, "z"]),
        t=times([EPOCH, None, EPOCH + timedelta(days=40, hours=5), EPOCH - timedelta(hours=3)]),
        u=times([EPOCH, EPOCH, EPOCH, None]),
    )
    np.testing.assert_array_equal(feature.column(whole.slice(1, 2)), feature.column(whole)[1:3])
    assert feature.column(whole.slice(4)).shape == (0,)


def test_a_vocabulary_must_make_sense() -> None:
    """An empty vocabulary and a text that is twice in it are refused, with the field's name."""
    with pytest.raises(TopologyError, match=r"'carrier'.*empty"):
        Category("carrier", ())
    with pytest.raises(TopologyError, match=r"'carrier'.*'UA' is in the vocabulary twice"):
        Category("carrier", ("UA", "AA", "UA"))


def test_a_unit_must_exist() -> None:
    """A unit that is none is refused with the list of those that are."""
    with pytest.raises(TopologyError, match=r"'fortnights'.*seconds, minutes, hours, days"):
        Elapsed("a", "b", unit="fortnights")  # type: ignore[arg-type]
