"""surgetank.features.spec: one matrix from many columns, checked at start, with a fingerprint."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Category, DayOfWeek, Elapsed, Feature, Field
from surgetank.errors import TopologyError
from surgetank.features.spec import FeatureSpec

SPEC = FeatureSpec((Field("distance"), Category("carrier", ("UA", "AA")), DayOfWeek("at")))
SCHEMA = pa.schema(
    {"at": pa.timestamp("ms", "UTC"), "carrier": pa.string(), "distance": pa.int32(), "other": pa.bool_()}
)


def test_the_matrix_has_the_columns_in_order() -> None:
    """Rows by features, float32, C-contiguous, in the declared order, NaN where something is missing."""
    columns = pa.record_batch([[0, None], ["AA", "XX"], [100, 200], [True, False]], schema=SCHEMA)
    matrix = SPEC.matrix(columns)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    np.testing.assert_array_equal(matrix, [[100, 1, 3], [200, np.nan, np.nan]])
    assert SPEC.names == ("distance", "carrier", "at_day_of_week")


def test_no_rows_give_a_matrix_without_rows() -> None:
    """An empty batch gives [0, F]."""
    assert SPEC.matrix(pa.RecordBatch.from_pylist([], schema=SCHEMA)).shape == (0, 3)


def test_inputs_are_the_columns_read_each_once() -> None:
    """A column that two features read is listed once, in the order of first use."""
    spec = FeatureSpec((DayOfWeek("b"), Elapsed("a", "b", unit="hours"), Field("c")))
    assert spec.inputs == ("b", "a", "c")


def test_a_fitting_schema_passes() -> None:
    """A schema with the columns, and others beside them, is accepted."""
    SPEC.check(SCHEMA)


def test_a_missing_column_is_named() -> None:
    """The error names the feature, the column, and what there is instead."""
    with pytest.raises(TopologyError, match=r"'at_day_of_week' reads column 'at'.*do not have.*carrier, distance"):
        SPEC.check(SCHEMA.remove(0))


@pytest.mark.parametrize(
    ("column", "dtype", "expected"),
    [
        ("distance", pa.string(), "must be a number"),
        ("distance", pa.timestamp("ms"), "must be a number"),
        ("carrier", pa.int32(), "must be a string"),
        ("carrier", pa.dictionary(pa.int8(), pa.int32()), "must be a string"),
        ("at", pa.int64(), "must be a timestamp"),
    ],
)
def test_a_column_of_another_type_is_named(column: str, dtype: pa.DataType, expected: str) -> None:
    """The error names the column, its type and what it should be."""
    schema = SCHEMA.set(SCHEMA.get_field_index(column), pa.field(column, dtype))
    with pytest.raises(TopologyError) as caught:
        SPEC.check(schema)
    assert f"{column!r}, which is {dtype}" in str(caught.value)
    assert expected in str(caught.value)


def test_two_features_of_one_name_are_refused() -> None:
    """The error says which name is there twice."""
    with pytest.raises(TopologyError, match="named 'x'"):
        FeatureSpec((Field("x"), Field("y"), Category("x", ("a",))))


def test_no_features_are_refused() -> None:
    """A model without inputs is a mistake."""
    with pytest.raises(TopologyError, match="at least one"):
        FeatureSpec(())


@pytest.mark.parametrize(
    "features",
    [
        (Field("distance"), Category("carrier", ("UA", "AA"))),
        (Category("carrier", ("UA", "AA")), Field("distance"), DayOfWeek("at")),
        (Field("distance"), Category("carrier", ("AA", "UA")), DayOfWeek("at")),
        (Field("distance"), Category("carrier", ("UA", "AA", "B6")), DayOfWeek("at")),
        (Field("distance"), Category("carrier", ("UA", "AA")), Field("at_day_of_week")),
    ],
    ids=["fewer", "order", "vocabulary order", "longer vocabulary", "other kind of the same name"],
)
def test_every_difference_changes_the_fingerprint(features: tuple[Feature, ...]) -> None:
    """Whatever would change the matrix changes the fingerprint."""
    assert FeatureSpec(features).fingerprint() != SPEC.fingerprint()


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """Another process, with other hash seeds, computes the same fingerprint for the same declaration."""
    code = (
        "from surgetank import Category, DayOfWeek, Field; from surgetank.features.spec import FeatureSpec; "
        "features = (Field('distance'), Category('carrier', ('UA', 'AA')), DayOfWeek('at')); "
        "print(FeatureSpec(features).fingerprint())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == SPEC.fingerprint()
