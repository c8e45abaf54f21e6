"""Decimals, dates and times of day as features, operands of features, and values of aggregates."""

from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Above, Field, IsNull, Log1p, Ratio, Table, hours
from surgetank.errors import TopologyError
from surgetank.features.derived import numbers
from surgetank.features.spec import FeatureSpec

AMOUNT = pa.array([Decimal("1.50"), None, Decimal("-0.07")], pa.decimal128(38, 2))
COLUMNS: list[tuple[pa.Array, list[float]]] = [
    (AMOUNT, [1.5, np.nan, -0.07]),
    (pa.array([Decimal("1.50"), None, Decimal("-0.07")], pa.decimal256(64, 2)), [1.5, np.nan, -0.07]),
    (pa.array([date(1970, 1, 2), None, date(1969, 12, 31)]), [1, np.nan, -1]),
    (pa.array([time(0, 0, 1, 500_000), None, time(23, 59, 59)], pa.time32("ms")), [1.5, np.nan, 86_399]),
    (pa.array([time(0, 0, 1, 500_000), None, time(23, 59, 59)], pa.time64("us")), [1.5, np.nan, 86_399]),
]


@pytest.mark.parametrize(("column", "expected"), COLUMNS, ids=[str(column.type) for column, _ in COLUMNS])
def test_decimals_dates_and_times_of_day_are_numbers(column: pa.Array, expected: list[float]) -> None:
    """Days since 1970 and seconds since midnight, null is missing; the same as an operand and in an aggregate."""
    batch = pa.record_batch({"x": column})
    spec = FeatureSpec((Field("x"), Ratio("x", "x"), IsNull("x"), Above("x", 1)))
    spec.check(batch.schema)
    values = np.array(expected)
    ones = np.where(np.isnan(values), np.nan, 1)
    wanted = [values, ones, np.isnan(values), np.where(np.isnan(values), np.nan, values > 1)]
    np.testing.assert_array_equal(spec.matrix(batch), np.array(wanted, dtype=np.float32).T)
    np.testing.assert_array_equal(numbers("x", batch), values)
    assert Table("t").mean("x", window=hours(1)).takes(column.type)
    np.testing.assert_array_equal(numbers(Log1p("x"), batch)[[0]], np.log1p(values[[0]]))


def test_a_decimal_is_too_large_for_a_feature() -> None:
    """Beyond float32 a feature is infinite, as other numbers are; an aggregate keeps the double."""
    large = Decimal(10) ** 75
    batch = pa.record_batch({"x": pa.array([large, -large], pa.decimal256(76, 0))})
    with np.errstate(all="raise"):
        assert Field("x").column(batch).tolist() == [np.inf, -np.inf]
    assert numbers("x", batch).tolist() == [1e75, -1e75]


def test_a_time_of_day_is_outside_its_day() -> None:
    """The number on the wire counts, as Avro does not forbid it."""
    ticks = pa.array([-1_500, 90_000_000], pa.int32()).view(pa.time32("ms"))
    assert Field("x").column(pa.record_batch({"x": ticks})).tolist() == [-1.5, 90_000]


@pytest.mark.parametrize("dtype", [pa.timestamp("ms"), pa.string(), pa.struct([("a", pa.int64())]), pa.binary()])
def test_other_types_are_no_numbers(dtype: Any) -> None:
    """They are refused as before: a point in time has calendar features."""
    with pytest.raises(TopologyError, match="must be a number or boolean"):
        Field("x").check(pa.schema({"x": dtype}))
