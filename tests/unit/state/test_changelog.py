"""surgetank.state.changelog: rows as bytes, and what a burst of records says."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import StateCorrupt
from surgetank.state.changelog import PARTITION_HISTORY, TABLE_VERSION, ChangelogReader, TableVersion
from surgetank.state.sparse_serde import SparseSerde

NUMBERS = SparseSerde(np.array([np.nan, -1.0]))
TOPIC = "payments.cards.changelog"
FAR = 1 << 40  # an offset behind all events

RECORDS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 99)), max_size=30)


def value(number: float, width: int = 2) -> bytes:
    """Return the value of a row."""
    packed: bytes = SparseSerde(np.full(width, np.nan)).pack(np.full((1, width), number), 0)[0].as_py()
    return packed


@given(RECORDS)
def test_of_each_key_the_last_record_counts(records: list[tuple[bytes, int | None]]) -> None:
    """A burst says the same as its records taken one by one; a null is the end of a key."""
    values = [None if number is None else value(number) for _, number in records]
    keys = [key for key, _ in records]

    assert ChangelogReader(NUMBERS, FAR).take(keys, values, TOPIC) == dict(zip(keys, values, strict=True))


def test_a_record_without_key_is_refused() -> None:
    """No worker writes one, so the topic is not what it should be."""
    with pytest.raises(StateCorrupt, match="without a key"):
        ChangelogReader(NUMBERS, FAR).take([None], [NUMBERS.absent], TOPIC)


MEANT = TableVersion("cards-2", {"measures": []})


@given(st.text(), st.none() | st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_meaning_comes_back(fingerprint: str, told: dict[str, int | str] | None) -> None:
    """What is written under MEANING is read again, and the bare fingerprint of earlier versions too."""
    assert TableVersion.load(TableVersion(fingerprint, told).dump()) == TableVersion(fingerprint, told)
    assert TableVersion.load(b"0123abcd") == TableVersion("0123abcd")
    assert TableVersion.load(b"\xff1") == TableVersion("\ufffd1")


def test_rows_of_another_declaration_do_not_fit() -> None:
    """What rows mean stands beside them, and is no row itself."""
    reading = ChangelogReader(NUMBERS, FAR)

    assert reading.take([TABLE_VERSION, PARTITION_HISTORY, b"a"], [MEANT.dump(), b"{}", NUMBERS.absent], TOPIC) == {
        b"a": NUMBERS.absent
    }
    assert reading.unfit("cards-2") is None
    assert "another declaration" in (reading.unfit("cards-3") or "")
    assert reading.meaning == MEANT
    assert reading.take([b"a"], [None], TOPIC) == {b"a": None}
    assert reading.unfit("cards-2") is None


def test_rows_of_another_width_do_not_fit_and_are_kept_out() -> None:
    """As long as one is the last of its key, the reason names its size and key."""
    reading = ChangelogReader(NUMBERS, FAR)

    assert reading.take([b"a", b"b"], [value(1), value(1, width=5)], TOPIC) == {b"a": value(1)}
    assert re.search(r"a value of 56 bytes under key b'b', which is not a row", reading.unfit("") or "")
    reading.take([b"b"], [value(2)], TOPIC)
    assert reading.unfit("") is None


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.sampled_from([2, 3])), max_size=12))
def test_what_was_written_anew_voids_what_lay_before(records: list[tuple[bytes, int | None]]) -> None:
    """However old rows lie before it and wherever bursts end, a whole rewriting fits, and nothing old is left."""
    log: list[tuple[bytes, bytes | None]] = [(TABLE_VERSION, b"cards-1")]
    log += [(key, None if width is None else value(7, width)) for key, width in records]
    log += [(TABLE_VERSION, MEANT.dump()), (b"a", value(1)), (b"b", None), (b"c", value(3))]
    for size in (1, 2, 5, 99):
        reading, held = ChangelogReader(NUMBERS, FAR), dict[bytes, object]()
        for start in range(0, len(log), size):
            keys, values = zip(*log[start : start + size], strict=True)
            held |= reading.take(keys, values, TOPIC)
        assert reading.unfit("cards-2") is None
        assert {key: it for key, it in held.items() if it is not None} == {b"a": value(1), b"c": value(3)}


def test_rows_that_include_events_to_be_read_again_are_noticed() -> None:
    """A row says which event it includes last; what stands under GROWN last is kept too."""
    reading = ChangelogReader(NUMBERS, 100)

    reading.take([b"a", PARTITION_HISTORY], [*NUMBERS.pack(np.zeros((1, 2)), 99).to_pylist(), b"{}"], TOPIC)
    assert (reading.ahead, reading.grown) == (False, b"{}")
    reading.take([b"a", b"b"], [*NUMBERS.pack(np.zeros((1, 2)), 100).to_pylist(), value(1, width=5)], TOPIC)
    reading.take([b"a"], [None], TOPIC)
    assert (reading.ahead, reading.grown) == (True, b"{}")
