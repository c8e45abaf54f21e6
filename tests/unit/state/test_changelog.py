"""pipeline.state.changelog: rows as bytes, and what a burst of records says."""

from collections.abc import Mapping
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StateCorrupt, StateError, StateMismatch
from pipeline.state.changelog import MEANING, Changes, Format, apply, decode, last_of_each, without_meaning
from pipeline.state.predictions import FRESH, PREDICTION, predictions

NUMBERS = Format.of_numbers(np.array([np.nan, -1.0]))
PREDICTIONS = Format(PREDICTION, FRESH)
ROWS = hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(2)), elements=st.floats(width=64))
TOPIC = "payments.cards.changelog"


@given(ROWS, st.integers(-1, 2**62))
def test_rows_come_back_bit_for_bit(rows: np.ndarray[Any, Any], offset: int) -> None:
    """Packed and unpacked, rows are the same bytes, contiguous and free to change, with their source offsets."""
    values = NUMBERS.pack(rows, offset)
    back = NUMBERS.unpack(values)
    assert back.tobytes() == rows.tobytes()
    assert back.shape == rows.shape
    assert back.flags.c_contiguous
    assert back.flags.writeable
    np.testing.assert_array_equal(NUMBERS.source_offsets(values), np.full(len(rows), offset))


def test_a_value_is_the_offset_and_the_row_in_little_endian() -> None:
    """The bytes are fixed: other versions of the program read them."""
    value = NUMBERS.pack(np.array([[1.0, -2.0]]), 258)[0]
    assert value.hex() == "0201000000000000" + "000000000000f03f" + "00000000000000c0"
    assert NUMBERS.size == len(value) == 24


def test_an_absent_key_has_the_fresh_row_and_no_offset() -> None:
    """The value for keys that are not there unpacks to the fresh row, and offset -1."""
    np.testing.assert_array_equal(NUMBERS.unpack([NUMBERS.absent] * 2), [[np.nan, -1.0]] * 2)
    assert NUMBERS.source_offsets([NUMBERS.absent]).tolist() == [-1]


def test_each_row_may_have_its_own_offset() -> None:
    """Source offsets may be a column."""
    assert NUMBERS.source_offsets(NUMBERS.pack(np.zeros((3, 2)), np.array([5, 7, 6]))).tolist() == [5, 7, 6]


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (3, 2, 1)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Nothing is broadcast: a row too narrow is a defect of the caller."""
    with pytest.raises(ValueError, match=r"rows of shape .* have shape \(2,\)"):
        NUMBERS.pack(np.zeros(shape), 0)


def test_predictions_are_rows_like_any_other() -> None:
    """Score, times and the model's version come back; a key never scored has no score."""
    rows = predictions(np.array([0.25, 0.5], dtype=np.float32), np.array([10, 20]), 30, "1.4.0-größer")
    back = PREDICTIONS.unpack(PREDICTIONS.pack(rows, 99))
    assert back.tolist() == [(0.25, 10, 30, "1.4.0-größer".encode()), (0.5, 20, 30, "1.4.0-größer".encode())]
    assert np.isnan(PREDICTIONS.unpack([PREDICTIONS.absent])["score"]).all()


def test_a_version_that_does_not_fit_is_refused_not_cut() -> None:
    """Text that is longer than the room for it is an error that names it."""
    with pytest.raises(StateError, match=r"'v+' has 65 bytes.*room for 64"):
        predictions(np.zeros(1), np.zeros(1, dtype=np.int64), 0, "v" * 65)


RECORDS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 99)), max_size=30)


@given(RECORDS)
def test_of_each_key_the_last_record_counts(records: list[tuple[bytes, int | None]]) -> None:
    """A burst says the same as its records applied one by one."""
    expected: dict[bytes, int] = {}
    for key, number in records:
        expected.pop(key, None)
        if number is not None:
            expected[key] = number
    values = [None if n is None else NUMBERS.pack(np.full((1, 2), float(n)), n)[0] for _, n in records]
    burst = decode([key for key, _ in records], values, NUMBERS, TOPIC)
    assert dict(zip(burst.keys, burst.source_offsets.tolist(), strict=True)) == expected
    assert burst.rows[:, 0].tolist() == [float(expected[key]) for key in burst.keys]
    assert set(burst.forgotten) == {key for key, _ in records} - set(expected)


def test_values_of_another_width_are_refused() -> None:
    """A record that another layout wrote is an error that names topic, both widths, and the way out."""
    wide = Format.of_numbers(np.zeros(5)).pack(np.zeros((1, 5)), 0)
    with pytest.raises(StateCorrupt, match=rf"{TOPIC} has values of 48 bytes where the table's have 24.*migrate"):
        last_of_each([b"a", b"b"], [NUMBERS.absent, *wide], NUMBERS.size, TOPIC)


def test_a_record_without_key_is_refused() -> None:
    """No worker writes one, so the topic is not what it should be."""
    with pytest.raises(StateCorrupt, match="without key"):
        last_of_each([None], [NUMBERS.absent], NUMBERS.size, TOPIC)


class Shelf:
    """A sink that keeps what it was given."""

    def __init__(self) -> None:
        self.written: list[tuple[Mapping[str, Changes], Mapping[str, int]]] = []

    def write(self, changes: Mapping[str, Changes], positions: Mapping[str, int]) -> None:
        """Keep it."""
        self.written.append((changes, positions))


def test_restoring_writes_rows_and_position_at_once() -> None:
    """One write holds the burst's last values, deletions too, and the offset behind it."""
    shelf = Shelf()
    new = NUMBERS.pack(np.ones((1, 2)), 4)[0]
    apply(shelf, "cards", NUMBERS.size, TOPIC, [b"a", b"b", b"a"], [NUMBERS.absent, None, new], 17)
    assert shelf.written == [({"cards": {b"a": new, b"b": None}}, {TOPIC: 17})]


def test_a_burst_that_is_refused_writes_nothing() -> None:
    """A wrong record in a burst keeps the whole burst out."""
    shelf = Shelf()
    with pytest.raises(StateCorrupt):
        apply(shelf, "cards", NUMBERS.size, TOPIC, [b"a", b"b"], [NUMBERS.absent, b"short"], 17)
    assert shelf.written == []


def test_rows_of_another_declaration_are_refused() -> None:
    """What rows mean stands beside them; it is no row itself, and something else than expected is an error."""
    burst = last_of_each([MEANING, b"a"], [b"cards-1", NUMBERS.absent], NUMBERS.size, TOPIC)

    assert without_meaning(dict(burst), "cards-1", TOPIC) == {b"a": NUMBERS.absent}
    assert without_meaning({b"a": None}, "cards-1", TOPIC) == {b"a": None}
    with pytest.raises(StateMismatch, match="another declaration of its table"):
        without_meaning(dict(burst), "cards-2", TOPIC)
