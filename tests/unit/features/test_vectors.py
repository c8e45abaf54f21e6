"""Features of vectors: arrays of numbers and raw bytes."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank import Events, Field, Pipeline, Scores, vector
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.errors import TopologyError
from surgetank.features.spec import FeatureSpec
from surgetank.features.vectors import SIZE_MAX
from tests.unit.codec.avro_samples import contracts_of, record, records_of, written

NAN = float("nan")
VECTORS = [[1.0, -2.5, 1e-40], [0.5, 0.0, 3e38], None, [1.0, 2.0], [], [1.0, 2.0, 3.0, 4.0], [7.0, 8.0, 9.0]]
EXPECTED = np.array([[1.0, -2.5, 1e-40], [0.5, 0.0, 3e38], *[[NAN] * 3] * 4, [7.0, 8.0, 9.0]], dtype=np.float32)


def raw(numbers: list[float] | None) -> bytes | None:
    """Return float32 numbers as bytes, the lowest byte first."""
    return None if numbers is None else struct.pack(f"<{len(numbers)}f", *numbers)


def matrix(vectors: pa.Array, size: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the matrix of the features of a vector."""
    return FeatureSpec(vector("v", size)).matrix(pa.RecordBatch.from_arrays([vectors], names=["v"]))


COLUMNS = {
    "doubles": pa.array(VECTORS, pa.list_(pa.float64())),
    "floats": pa.array(VECTORS, pa.list_(pa.float32())),
    "large": pa.array(VECTORS, pa.large_list(pa.float64())),
    "bytes": pa.array([raw(each) for each in VECTORS], pa.binary()),
    "large bytes": pa.array([raw(each) for each in VECTORS], pa.large_binary()),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_vector_is_as_many_columns_of_the_matrix(name: str) -> None:
    """One that is null or of another size is missing as a whole, in every part of a batch."""
    column = COLUMNS[name]
    np.testing.assert_array_equal(matrix(column), EXPECTED)
    np.testing.assert_array_equal(matrix(column.slice(1, 4)), EXPECTED[1:5])
    np.testing.assert_array_equal(matrix(column.slice(6)), EXPECTED[6:])
    assert matrix(column.slice(0, 0)).shape == (0, 3)


def test_bytes_that_are_no_whole_numbers_move_no_others() -> None:
    """The next vector begins at any byte."""
    column = pa.array(
        [b"abcde", raw([1.0, 2.0, 3.0]), b"", b"xyz", raw([4.0, 5.0, 6.0]), b"0123456789ab!"], pa.binary()
    )
    np.testing.assert_array_equal(
        matrix(column), np.array([[NAN] * 3, [1, 2, 3], [NAN] * 3, [NAN] * 3, [4, 5, 6], [NAN] * 3], dtype=np.float32)
    )
    np.testing.assert_array_equal(matrix(pa.array([b"a"], pa.binary())), np.full((1, 3), NAN, dtype=np.float32))


def test_vectors_of_fixed_size() -> None:
    """Lists and bytes."""
    lists = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2))
    wanted = np.array([[1, 2], [NAN, NAN], [3, 4]], dtype=np.float32)
    np.testing.assert_array_equal(matrix(lists, 2), wanted)
    np.testing.assert_array_equal(matrix(lists.slice(1), 2), wanted[1:])
    fixed = pa.array([raw([1.0, 2.0]), None, raw([3.0, 4.0])], pa.binary(8))
    np.testing.assert_array_equal(matrix(fixed, 2), wanted)
    np.testing.assert_array_equal(matrix(fixed.slice(1), 2), wanted[1:])


def test_an_item_that_is_null_is_missing_alone() -> None:
    """The others of its vector are not."""
    column = pa.array([[1, None], [2, 3]], pa.list_(pa.int64()))
    np.testing.assert_array_equal(matrix(column, 2), np.array([[1, NAN], [2, 3]], dtype=np.float32))


@given(st.lists(st.none() | st.lists(st.floats(width=32), min_size=0, max_size=4), max_size=20), st.integers(0, 5))
@settings(deadline=None)
def test_both_forms_give_the_same_numbers(vectors: list[list[float] | None], start: int) -> None:
    """Bit by bit, with infinities and NaN."""
    lists, raws = pa.array(vectors, pa.list_(pa.float32())), pa.array([raw(each) for each in vectors], pa.binary())
    expected = np.array(
        [each if each and len(each) == 2 else [NAN] * 2 for each in vectors[start:]], dtype=np.float32
    ).reshape(-1, 2)
    np.testing.assert_array_equal(matrix(lists.slice(start), 2), expected)
    np.testing.assert_array_equal(matrix(raws.slice(start), 2), expected)


def test_vectors_come_from_avro_and_from_json(tmp_path: Path) -> None:
    """As arrays, and as bytes, which JSON has in base64."""
    schema = record(("a", {"type": "array", "items": "float"}), ("b", "bytes"))
    contracts = contracts_of(tmp_path, schema)
    numbers = [0.5, -1.0, 2.25]
    avro = written(schema, {"a": numbers, "b": raw(numbers)})
    text = b'{"b": "AAAAPwAAgL8AABBA", "a": [0.5, -1, 2.25e0]}'
    spec = FeatureSpec((*vector("a", 3), *vector("b", 3)))
    for decoder, value in (
        (AvroDeserializer(contracts, "event", value_bytes_max=1000), avro),
        (JsonDeserializer(contracts, "event", value_bytes_max=1000), text),
    ):
        spec.check(decoder.schema)
        batch, dead = decoder.deserialize(records_of([value]))
        assert dead == ()
        np.testing.assert_array_equal(spec.matrix(batch.columns), np.array([numbers * 2], dtype=np.float32))


def test_names_say_which_number_it_is() -> None:
    """The fingerprint depends on field, place and size."""
    pipeline = Pipeline(
        name="faces",
        events=Events("faces", schema="face", key="id", time="at"),
        features=(Field("age"), *vector("face", 3)),
        model="faces",
        scores=Scores("faces.scores"),
    )
    assert pipeline.spec.names == ("age", "face_0", "face_1", "face_2")
    prints = [FeatureSpec(each[:2]).fingerprint() for each in (vector("face", 3), vector("face", 4), vector("f", 3))]
    assert len(set(prints)) == 3


@pytest.mark.parametrize("size", [0, -1, SIZE_MAX + 1])
def test_a_vector_has_a_possible_size(size: int) -> None:
    """The message names the field."""
    with pytest.raises(TopologyError, match=f"vector 'face': size is {size}"):
        vector("face", size)


@pytest.mark.parametrize("dtype", [pa.string(), pa.float64(), pa.list_(pa.string()), pa.list_(pa.list_(pa.int32()))])
def test_a_vector_of_another_type_is_refused(dtype: pa.DataType) -> None:
    """When the pipeline is checked."""
    with pytest.raises(TopologyError, match=r"reads column 'v', which is .*must be an array of numbers, or bytes"):
        FeatureSpec(vector("v", 2)).check(pa.schema([("v", dtype)]))
