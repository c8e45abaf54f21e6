"""pipeline.state.changelog: rows as bytes, and what a burst of records says."""

import re
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StateCorrupt, StateError
from pipeline.state.changelog import GROWN, MEANING, Format, Meaning, Reading
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


def value(number: float, width: int = 2) -> bytes:
    """Return the value of a row."""
    return Format.of_numbers(np.zeros(width)).pack(np.full((1, width), number), 0)[0]


@given(RECORDS)
def test_of_each_key_the_last_record_counts(records: list[tuple[bytes, int | None]]) -> None:
    """A burst says the same as its records taken one by one; a null is the end of a key."""
    values = [None if number is None else value(number) for _, number in records]
    keys = [key for key, _ in records]

    assert Reading(NUMBERS.size).take(keys, values, TOPIC) == dict(zip(keys, values, strict=True))


def test_a_record_without_key_is_refused() -> None:
    """No worker writes one, so the topic is not what it should be."""
    with pytest.raises(StateCorrupt, match="without key"):
        Reading(NUMBERS.size).take([None], [NUMBERS.absent], TOPIC)


MEANT = Meaning("cards-2", {"measures": []})


@given(st.text(), st.none() | st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_meaning_comes_back(fingerprint: str, told: dict[str, int | str] | None) -> None:
    """What is written under MEANING is read again, and the bare fingerprint of earlier versions too."""
    assert Meaning.load(Meaning(fingerprint, told).dump()) == Meaning(fingerprint, told)
    assert Meaning.load(b"0123abcd") == Meaning("0123abcd")
    assert Meaning.load(b"\xff1") == Meaning("\ufffd1")


def test_rows_of_another_declaration_do_not_fit() -> None:
    """What rows mean stands beside them, and is no row itself."""
    reading = Reading(NUMBERS.size)

    assert reading.take([MEANING, GROWN, b"a"], [MEANT.dump(), b"{}", NUMBERS.absent], TOPIC) == {b"a": NUMBERS.absent}
    assert reading.unfit("cards-2") is None
    assert "another declaration" in (reading.unfit("cards-3") or "")
    assert reading.meaning == MEANT
    assert reading.take([b"a"], [None], TOPIC) == {b"a": None}
    assert reading.unfit("cards-2") is None


def test_rows_of_another_width_do_not_fit_and_are_kept_out() -> None:
    """As long as one is the last of its key, the reason names both widths and the key."""
    reading = Reading(NUMBERS.size)

    assert reading.take([b"a", b"b"], [value(1), value(1, width=5)], TOPIC) == {b"a": value(1)}
    assert re.search(r"value of 48 bytes where a row .* has 24, as of key b'b'", reading.unfit("") or "")
    reading.take([b"b"], [value(2)], TOPIC)
    assert reading.unfit("") is None


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.sampled_from([2, 3])), max_size=12))
def test_what_was_written_anew_voids_what_lay_before(records: list[tuple[bytes, int | None]]) -> None:
    """However old rows lie before it and wherever bursts end, a whole rewriting fits, and nothing old is left."""
    log: list[tuple[bytes, bytes | None]] = [(MEANING, b"cards-1")]
    log += [(key, None if width is None else value(7, width)) for key, width in records]
    log += [(MEANING, MEANT.dump()), (b"a", value(1)), (b"b", None), (b"c", value(3))]
    for size in (1, 2, 5, 99):
        reading, held = Reading(NUMBERS.size), {}
        for start in range(0, len(log), size):
            keys, values = zip(*log[start : start + size], strict=True)
            held |= reading.take(keys, values, TOPIC)
        assert reading.unfit("cards-2") is None
        assert {key: it for key, it in held.items() if it is not None} == {b"a": value(1), b"c": value(3)}
