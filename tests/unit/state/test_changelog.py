"""pipeline.state.changelog: what a burst of records says."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StateCorrupt, StateMismatch
from pipeline.state.changelog import MEANING, Changes, apply, decode, last_of_each, without_meaning
from pipeline.state.sparse import Sparse

NUMBERS = Sparse(np.array([np.nan, -1.0]))
TOPIC = "payments.cards.changelog"


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


def test_values_of_another_table_are_refused() -> None:
    """A record that another layout wrote is an error that names topic, width, and the way out."""
    wide = Sparse(np.zeros(70)).pack(np.ones((1, 70)), 0)
    with pytest.raises(StateCorrupt, match=rf"{TOPIC} has a value of 584 bytes that is no row.*migrate"):
        last_of_each([b"a", b"b"], [NUMBERS.absent, *wide], NUMBERS, TOPIC)


def test_a_record_without_key_is_refused() -> None:
    """No worker writes one, so the topic is not what it should be."""
    with pytest.raises(StateCorrupt, match="without key"):
        last_of_each([None], [NUMBERS.absent], NUMBERS, TOPIC)


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
    apply(shelf, "cards", NUMBERS, TOPIC, [b"a", b"b", b"a"], [NUMBERS.absent, None, new], 17)
    assert shelf.written == [({"cards": {b"a": new, b"b": None}}, {TOPIC: 17})]


def test_a_burst_that_is_refused_writes_nothing() -> None:
    """A wrong record in a burst keeps the whole burst out."""
    shelf = Shelf()
    with pytest.raises(StateCorrupt):
        apply(shelf, "cards", NUMBERS, TOPIC, [b"a", b"b"], [NUMBERS.absent, b"short"], 17)
    assert shelf.written == []


def test_rows_of_another_declaration_are_refused() -> None:
    """What rows mean stands beside them; it is no row itself, and something else than expected is an error."""
    burst = last_of_each([MEANING, b"a"], [b"cards-1", NUMBERS.absent], NUMBERS, TOPIC)

    assert without_meaning(dict(burst), "cards-1", TOPIC) == {b"a": NUMBERS.absent}
    assert without_meaning({b"a": None}, "cards-1", TOPIC) == {b"a": None}
    with pytest.raises(StateMismatch, match="another declaration of its table"):
        without_meaning(dict(burst), "cards-2", TOPIC)
