"""The book of many groups: verdicts, what is remembered, what is forgotten."""

from pipeline.lag.lag_evaluator import FORGET_SECONDS, LagEvaluator, PartitionOffsets
from pipeline.lag.rules import LagStatus
from pipeline.lag.seconds import LagMethod
from pipeline.records import TopicPartition

ORDERS = TopicPartition("orders", 0)


def look(book: LagEvaluator, now: float, end: int, committed: int | None, **more: object) -> tuple[LagStatus, int]:
    """Look once at one partition of one group; return status and lag."""
    book.see_ends(now, {ORDERS: end})
    start = int(str(more.pop("start", 0)))
    (found,) = book.judge(now, "billing", [PartitionOffsets(ORDERS, start, end, committed, **more)], members=True)  # type: ignore[arg-type]
    book.forget(now)
    return found.status, found.lag


def test_a_topic_made_anew_goes_back_and_has_no_negative_lag() -> None:
    """The group's offset lies behind the end of the new topic until it commits anew: lag 0, then what is to do."""
    book = LagEvaluator()
    assert look(book, 0, 1000, 1000) == (LagStatus.OK, 0)
    assert look(book, 10, 5, 1000) == (LagStatus.REWIND, 0)
    assert look(book, 20, 50, 20) == (LagStatus.REWIND, 30)
    assert look(book, 30, 60, 60) == (LagStatus.REWIND, 0)
    assert look(book, 100, 70, 70) == (LagStatus.OK, 0)


def test_offsets_that_vanish_for_a_moment_are_compared_with_what_they_were() -> None:
    """Deleting a topic deletes the group's offsets there; what it commits to the next one is still a rewind."""
    book = LagEvaluator()
    look(book, 0, 1000, 900)
    book.forget(200)
    assert look(book, 200, 50, 10) == (LagStatus.REWIND, 40)


def test_what_is_not_seen_for_long_is_forgotten() -> None:
    """A deleted group leaves nothing behind, nor does a deleted topic."""
    book = LagEvaluator()
    look(book, 0, 1000, 900)
    book.forget(FORGET_SECONDS + 1)
    assert not book.windows
    assert not book.trails
    assert look(book, FORGET_SECONDS + 2, 50, 10) == (LagStatus.OK, 40)


def test_a_group_that_committed_nothing_has_all_before_it() -> None:
    """From the first offset on; what retention took is not lag, and is no work done."""
    book = LagEvaluator()
    assert look(book, 0, 1000, None, start=400) == (LagStatus.OK, 600)
    assert look(book, 40, 1000, None, start=700) == (LagStatus.STALL, 300)
    assert look(book, 50, 1000, 750, start=700) == (LagStatus.OK, 250)
    assert look(book, 200, 1000, 750, start=900) == (LagStatus.STALL, 100)


def test_markers_of_transactions_are_no_lag() -> None:
    """Nothing lies before the end but markers: no lag, no age, and for days no stall."""
    book = LagEvaluator()
    for hour in range(48):
        assert look(book, 3600.0 * hour, 101, 100, nothing=True) == (LagStatus.OK, 0)
    assert look(book, 3600.0 * 48, 105, 100) == (LagStatus.OK, 5)


def test_a_partition_without_traffic_for_days_is_fine() -> None:
    """Neither stalled nor stopped, with a lag of 0 s; the first record after it is dated right."""
    book = LagEvaluator()
    for minute in range(0, 3 * 24 * 60, 10):
        assert look(book, 60.0 * minute, 100, 100) == (LagStatus.OK, 0)
    now = 3 * 24 * 3600.0
    look(book, now - 10, 100, 100)
    assert look(book, now, 101, 100) == (LagStatus.OK, 1)
    (found,) = book.judge(now + 5, "billing", [PartitionOffsets(ORDERS, 0, 101, 100)], members=True)
    assert found.seconds is not None
    assert found.seconds.how is LagMethod.INTERPOLATED
    assert 5 <= found.seconds.seconds <= 15
    assert len(book.trails[ORDERS]) <= 3


def test_a_trail_serves_all_groups_and_keeps_what_the_slowest_needs() -> None:
    """Points that the fast have done are kept for the slow."""
    book = LagEvaluator()
    for second in range(20):
        book.see_ends(second, {ORDERS: 10 * second})
        book.judge(second, "fast", [PartitionOffsets(ORDERS, 0, 10 * second, 10 * second)], members=True)
        book.judge(second, "slow", [PartitionOffsets(ORDERS, 0, 10 * second, 50)], members=True)
        book.forget(second)
    assert book.trails[ORDERS].points[0][1] == 50
    (slow,) = book.judge(20, "slow", [PartitionOffsets(ORDERS, 0, 190, 50)], members=False)
    assert slow.seconds == (15, LagMethod.INTERPOLATED)
