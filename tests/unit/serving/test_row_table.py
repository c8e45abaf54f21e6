"""The table of a prediction cache: byte for byte, bounded, with a limit of age, whatever the hashes are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.prediction_cache.row_table import RowTable

MANY = 1 << 20
HASH_BITS = st.sampled_from([0, 1, 2, 5, 64])


def score_of(matrix: Float32s) -> Float64s:
    """Return a score for each row that depends on each of its bits."""
    return np.array([hash(row.tobytes()) / 1e3 for row in matrix], dtype=np.float64)


def bits(*rows: list[int]) -> Float32s:
    """Return float32 [m, F] with these bits."""
    return np.array(rows, dtype=np.uint32).view(np.float32)


def put(table: RowTable, matrix: Float32s, now: float = 0.0) -> None:
    """Store the rows of a matrix that are not known."""
    lookup = table.find(matrix, 0.0)
    table.store(lookup, score_of(matrix[lookup.missing]), now)


def known(table: RowTable, matrix: Float32s, oldest: float = 0.0) -> list[bool]:
    """Return for each row whether its score is known."""
    return [each < 0 for each in table.find(matrix, oldest).source.tolist()]


def test_a_stored_row_is_found_with_its_score() -> None:
    """And a row that differs in one number is not."""
    table, matrix = RowTable(3, MANY), np.arange(30, dtype=np.float32).reshape(10, 3)
    put(table, matrix)
    other = matrix.copy()
    other[:, 1] += 1
    assert known(table, matrix) == [True] * 10
    assert known(table, other) == [False] * 10
    np.testing.assert_array_equal(table.find(matrix, 0.0).scores, score_of(matrix))
    assert table.rows == 10
    assert table.bytes == 10 * table.row_bytes


def test_rows_are_the_same_only_bit_by_bit() -> None:
    """0.0 and -0.0 are equal numbers, and two NaNs with other bits are both NaN: other rows."""
    quiet, loaded, minus = 0x7FC00000, 0x7FC00001, 0x80000000
    table = RowTable(2, MANY)
    put(table, bits([0, quiet], [minus, loaded]))
    assert known(table, bits([0, quiet], [minus, quiet], [0, loaded], [minus, loaded])) == [True, False, False, True]


def test_equal_rows_of_a_batch_are_missing_once() -> None:
    """Each refers to the first of them."""
    table = RowTable(1, MANY)
    lookup = table.find(np.array([[5], [6], [5], [5], [7], [6]], dtype=np.float32), 0.0)
    assert lookup.missing.tolist() == [0, 1, 4]
    assert lookup.source.tolist() == [0, 1, 0, 0, 2, 1]
    assert lookup.complete(np.array([50.0, 60.0, 70.0])).tolist() == [50, 60, 50, 50, 70, 60]


def test_a_score_is_too_old_after_its_time() -> None:
    """It is stored again in the same slot."""
    table, matrix = RowTable(2, MANY), np.ones((1, 2), dtype=np.float32)
    put(table, matrix, now=10.0)
    assert known(table, matrix, oldest=9.9) == [True]
    assert known(table, matrix, oldest=10.1) == [False]
    lookup = table.find(matrix, 10.1)
    table.store(lookup, np.array([2.0]), 20.0)
    assert known(table, matrix, oldest=19.9) == [True]
    assert table.find(matrix, 19.9).scores.tolist() == [2.0]
    assert table.rows == 1


@given(features=st.integers(1, 9), bytes_max=st.integers(0, 3000), seed=st.integers(0, 100), hash_bits=HASH_BITS)
def test_memory_is_bounded(features: int, bytes_max: int, seed: int, hash_bits: int) -> None:
    """However many rows come, the bytes are at most the bound, or those of one row."""
    table, random = RowTable(features, bytes_max, hash_bits=hash_bits), np.random.default_rng(seed)
    for now in range(5):
        put(table, random.random((100, features), dtype=np.float32), float(now))
        assert table.bytes <= max(bytes_max, table.row_bytes)
    assert table.rows >= 1


def test_the_oldest_row_gives_way() -> None:
    """With room for 8 rows the ninth replaces the one that was stored first."""
    rows = np.arange(9, dtype=np.float32).reshape(9, 1)
    table = RowTable(1, 8 * RowTable(1, 0).row_bytes)
    for at in range(9):
        put(table, rows[at : at + 1], now=float(at))
    assert known(table, rows) == [False] + [True] * 8
    assert table.rows == 8


def test_a_cleared_table_knows_nothing() -> None:
    """And has room again."""
    table, matrix = RowTable(1, MANY), np.ones((1, 1), dtype=np.float32)
    put(table, matrix)
    table.clear()
    assert known(table, matrix) == [False]
    assert (table.rows, table.bytes) == (0, 0)


words = st.sampled_from([0, 0x80000000, 0x7FC00000, 0x7FC00001, 0xFFC00000, 0x3F800000, 1, 0x7F800000])


@st.composite
def batches(draw: st.DrawFn) -> list[Float32s]:
    """Return batches of rows of one width, of few different bits, so that rows repeat."""
    features = draw(st.integers(1, 4))
    row = st.lists(words, min_size=features, max_size=features)
    drawn = draw(st.lists(st.lists(row, min_size=1, max_size=30), min_size=1, max_size=6))
    return [bits(*each) for each in drawn]


@given(matrices=batches(), hash_bits=HASH_BITS, room=st.integers(1, 40))
def test_every_score_is_that_of_the_exact_bits_of_the_row(matrices: list[Float32s], hash_bits: int, room: int) -> None:
    """For hashes that all collide, and tables that are always full."""
    features = matrices[0].shape[1]
    table = RowTable(features, room * RowTable(features, 0).row_bytes, hash_bits=hash_bits)
    for now, matrix in enumerate(matrices):
        lookup = table.find(matrix, 0.0)
        fresh = score_of(matrix[lookup.missing])
        table.store(lookup, fresh, float(now))
        np.testing.assert_array_equal(lookup.complete(fresh), score_of(matrix))
        assert table.rows <= room


@pytest.mark.parametrize("features", [1, 2, 7, 8])
def test_many_random_rows_are_found_again(features: int) -> None:
    """With room for four times as many, nearly none is lost to a full neighbourhood."""
    matrix = np.random.default_rng(1).random((5000, features), dtype=np.float32)
    table = RowTable(features, 20_000 * RowTable(features, 0).row_bytes)
    put(table, matrix)
    assert np.mean(known(table, matrix)) > 0.999
