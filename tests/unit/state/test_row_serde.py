"""surgetank.state.row_serde and sparse: rows as bytes."""

from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import StateCorrupt, StateError
from surgetank.records import byte_lengths, large_binary
from surgetank.state.predictions import FRESH, PREDICTION, encode_version, predictions
from surgetank.state.row_serde import FixedWidthSerde, RowSerde
from surgetank.state.sparse_serde import SparseSerde

Floats = np.ndarray[Any, np.dtype[np.float64]]

CELLS = st.sampled_from([0.0, -0.0, 1.0, np.nan, -1.0]) | st.floats(width=64)
PAIRS = SparseSerde(np.array([np.nan, -1.0]))
PREDICTIONS = FixedWidthSerde(PREDICTION, FRESH)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Floats, Floats]:
    """Return a fresh row, of one word of a bitmap or several, and rows."""
    width = draw(st.sampled_from([1, 2, 63, 64, 65, 85, 130]))
    fresh = draw(hnp.arrays(np.float64, width, elements=CELLS, fill=CELLS))
    rows = np.tile(fresh, (draw(st.integers(0, 6)), 1))
    for at in draw(st.lists(st.integers(0, max(rows.size - 1, 0)), max_size=40)):
        if rows.size:
            rows.flat[at] = draw(CELLS)
    return fresh, rows


@given(tables(), st.integers(-1, 2**62))
def test_rows_come_back_bit_for_bit(table: tuple[Floats, Floats], offset: int) -> None:
    """Packed and unpacked, rows are the same bits, contiguous and free to change, with their source offsets."""
    fresh, rows = table
    format_ = SparseSerde(fresh)
    values = format_.pack(rows, offset)
    back = format_.unpack(values)
    assert back.tobytes() == rows.tobytes()
    assert back.shape == rows.shape
    assert back.flags.c_contiguous
    assert back.flags.writeable
    assert byte_lengths(values).max(initial=0) <= format_.size
    assert format_.fits(values).all()
    np.testing.assert_array_equal(format_.source_offsets(values), np.full(len(rows), offset))


def test_a_value_is_offset_bitmap_and_the_cells_that_are_not_fresh_in_little_endian() -> None:
    """The bytes are fixed: other versions of the program read them."""
    value = PAIRS.pack(np.array([[1.0, -2.0]]), 258)[0].as_py()
    assert value.hex() == "0201000000000000" + "0300000000000000" + "000000000000f03f" + "00000000000000c0"
    assert PAIRS.size == len(value) == 32
    assert (
        PAIRS.pack(np.array([[np.nan, -2.0]]), 258)[0].as_py().hex()
        == "0201000000000000" + "02" + 14 * "0" + "00000000000000c0"
    )


def test_an_absent_key_has_the_fresh_row_and_no_offset() -> None:
    """The value for keys that are not there unpacks to the fresh row, and offset -1."""
    np.testing.assert_array_equal(PAIRS.unpack(large_binary([PAIRS.absent] * 2)), [[np.nan, -1.0]] * 2)
    assert PAIRS.source_offsets(large_binary([PAIRS.absent])).tolist() == [-1]
    assert len(PAIRS.absent) == 16


def test_each_row_may_have_its_own_offset() -> None:
    """Source offsets may be a column."""
    assert PAIRS.source_offsets(PAIRS.pack(np.zeros((3, 2)), np.array([5, 7, 6]))).tolist() == [5, 7, 6]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (3, 2, 1)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Nothing is broadcast: a row too narrow is a defect of the caller."""
    with pytest.raises(ValueError, match=r"rows of shape .* have shape \(2,\)"):
        PAIRS.pack(np.zeros(shape), 0)
    with pytest.raises(ValueError, match="one-dimensional"):
        PREDICTIONS.pack(np.zeros((1, 2), dtype=PREDICTION), 0)


@given(st.lists(st.binary(max_size=60) | st.binary(min_size=96, max_size=96), max_size=8))
def test_bytes_that_are_no_rows_are_told_or_refused_and_never_read_beyond(values: list[bytes]) -> None:
    """What does not fit is said to; to unpack it all the same is an error, or what fits by chance."""
    formats: list[RowSerde] = [PAIRS, SparseSerde(np.zeros(70)), PREDICTIONS]
    column = large_binary([b"before", *values]).slice(1)
    for format_ in formats:
        fit = format_.fits(column)
        good = column.filter(pa.array(fit))
        assert len(format_.unpack(good)) == len(good)
        if not fit.all() and isinstance(format_, SparseSerde):
            with pytest.raises(StateCorrupt):
                format_.unpack(column)


def test_a_bitmap_that_names_too_many_cells_is_refused() -> None:
    """One bit too many, one cell too few, and a cell that no row has are no rows."""
    value = PAIRS.pack(np.array([[1.0, -2.0]]), 0)[0].as_py()
    for odd in (value[:-8], value + bytes(8), value[:8] + b"\x05" + value[9:], value[:-1], b"", value[:8]):
        assert not PAIRS.fits(large_binary([odd])).any()
        with pytest.raises(StateCorrupt):
            PAIRS.unpack(large_binary([odd]))
    with pytest.raises(StateCorrupt):
        PREDICTIONS.unpack(large_binary([PREDICTIONS.absent[:-1]]))


def test_predictions_are_rows_like_any_other() -> None:
    """Score, times and the model's version come back; a key never scored has no score."""
    versions = np.array([encode_version("1.4.0-größer"), encode_version("1")])
    rows = predictions(np.array([0.25, 0.5], dtype=np.float32), np.array([10, 20]), 30, versions)
    values = PREDICTIONS.pack(rows, 99)
    back = PREDICTIONS.unpack(values)
    assert back.tolist() == [(0.25, 10, 30, "1.4.0-größer".encode()), (0.5, 20, 30, b"1")]
    assert PREDICTIONS.source_offsets(values).tolist() == [99, 99]
    assert np.isnan(PREDICTIONS.unpack(large_binary([PREDICTIONS.absent]))["score"]).all()


def test_a_version_that_does_not_fit_is_refused_not_cut() -> None:
    """Text that is longer than the room for it is an error that names it."""
    with pytest.raises(StateError, match=r"'v+' has 65 bytes.*room for 64"):
        encode_version("v" * 65)
