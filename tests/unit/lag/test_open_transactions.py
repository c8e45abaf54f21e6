"""The time for which open transactions hold readers of committed records back."""

from hypothesis import given
from hypothesis import strategies as st

from surgetank.lag.open_transactions import HeldBack, OpenTransactions
from surgetank.records import TopicPartition

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


def test_the_time_counts_from_the_first_look_at_an_unchanged_stable_offset() -> None:
    """Later records wait behind the same transaction; when the offset moves, another transaction is measured."""
    found = OpenTransactions()
    assert found.evaluate(0.0, {A: 100, B: 5}, {A: 110, B: 5}) == {A: HeldBack(10, 0.0)}
    assert found.evaluate(8.0, {A: 100, B: 5}, {A: 150, B: 5}) == {A: HeldBack(50, 8.0)}
    assert found.evaluate(9.0, {A: 120, B: 5}, {A: 150, B: 5}) == {A: HeldBack(30, 0.0)}
    assert found.evaluate(10.0, {A: 150, B: 5}, {A: 150, B: 5}) == {}
    assert found.evaluate(11.0, {A: 150, B: 5}, {A: 151, B: 5}) == {A: HeldBack(1, 0.0)}


def test_a_partition_that_was_not_looked_at_starts_anew() -> None:
    """It may have belonged to another worker."""
    found = OpenTransactions()
    found.evaluate(0.0, {A: 100}, {A: 110})
    found.evaluate(1.0, {B: 5}, {})
    assert found.evaluate(2.0, {A: 100}, {A: 110}) == {A: HeldBack(10, 0.0)}


def test_only_an_unchanged_stable_offset_can_be_held_back() -> None:
    """A caller asks for the high watermarks of these partitions only."""
    found = OpenTransactions()
    assert found.unchanged({A: 100}) == []
    found.evaluate(0.0, {A: 100, B: 5}, {})
    assert found.unchanged({A: 100, B: 6}) == [A]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_short_transactions_in_sequence_are_never_old(moves: list[tuple[int, int]]) -> None:
    """However long records are behind some transaction, the time is that of one last stable offset."""
    found, stable, since = OpenTransactions(), 0, 0
    for now, (step, open_records) in enumerate(moves):
        if step or not open_records:
            since = now
        stable += step
        held_back = found.evaluate(float(now), {A: stable}, {A: stable + open_records}).get(A)
        assert (held_back is not None) is (open_records > 0)
        if held_back is not None:
            assert held_back.records == open_records
            assert held_back.seconds <= now - since
