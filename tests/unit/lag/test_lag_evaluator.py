"""The evaluator of many groups: status, retained history, expiry."""

from typing import Any

from surgetank.lag.lag_evaluator import EXPIRE_SECONDS, LagEvaluator, PartitionOffsets
from surgetank.lag.rules import LagStatus
from surgetank.lag.seconds import LagMethod
from surgetank.records import TopicPartition

ORDERS = TopicPartition("orders", 0)


def evaluate(
    evaluator: LagEvaluator, now: float, end: int, committed: int | None, **more: Any
) -> tuple[LagStatus, int]:
    """Evaluate one partition of one group once; return status and lag."""
    evaluator.add_end_offsets(now, {ORDERS: end}, {})
    offsets = PartitionOffsets(ORDERS, more.pop("start", 0), end, committed, **more)
    (found,) = evaluator.evaluate(now, "billing", [offsets], members=True)
    evaluator.expire(now)
    return found.status, found.lag


def test_a_recreated_topic_is_a_rewind_without_negative_lag() -> None:
    """The committed offset is beyond the end of the new topic until the group commits again."""
    evaluator = LagEvaluator()
    assert evaluate(evaluator, 0, 1000, 1000) == (LagStatus.OK, 0)
    assert evaluate(evaluator, 10, 5, 1000) == (LagStatus.REWIND, 0)
    assert evaluate(evaluator, 20, 50, 20) == (LagStatus.REWIND, 30)
    assert evaluate(evaluator, 30, 60, 60) == (LagStatus.REWIND, 0)
    assert evaluate(evaluator, 100, 70, 70) == (LagStatus.OK, 0)


def test_offsets_that_are_deleted_and_committed_again_are_a_rewind() -> None:
    """Deleting a topic deletes the group's offsets; the first commit to the new topic is a rewind."""
    evaluator = LagEvaluator()
    evaluate(evaluator, 0, 1000, 900)
    evaluator.expire(200)
    assert evaluate(evaluator, 200, 50, 10) == (LagStatus.REWIND, 40)


def test_groups_and_topics_expire() -> None:
    """A deleted group and a deleted topic leave nothing in memory."""
    evaluator = LagEvaluator()
    evaluate(evaluator, 0, 1000, 900)
    evaluator.expire(EXPIRE_SECONDS + 1)
    assert not evaluator.windows
    assert not evaluator.histories
    assert evaluate(evaluator, EXPIRE_SECONDS + 2, 50, 10) == (LagStatus.OK, 40)


def test_a_group_without_commits_lags_from_the_log_start() -> None:
    """Records deleted by retention are neither lag nor progress."""
    evaluator = LagEvaluator()
    assert evaluate(evaluator, 0, 1000, None, start=400) == (LagStatus.OK, 600)
    assert evaluate(evaluator, 40, 1000, None, start=700) == (LagStatus.STALL, 300)
    assert evaluate(evaluator, 50, 1000, 750, start=700) == (LagStatus.OK, 250)
    assert evaluate(evaluator, 200, 1000, 750, start=900) == (LagStatus.STALL, 100)


def test_transaction_markers_are_no_lag() -> None:
    """Only markers lie before the end: no lag, no age, and no stall for days."""
    evaluator = LagEvaluator()
    for hour in range(48):
        assert evaluate(evaluator, 3600.0 * hour, 101, 100, only_markers=True) == (LagStatus.OK, 0)
    assert evaluate(evaluator, 3600.0 * 48, 105, 100) == (LagStatus.OK, 5)


def test_a_partition_without_traffic_is_ok() -> None:
    """It neither stalls nor stops and its lag is 0 s; the first record after it is dated correctly."""
    evaluator = LagEvaluator()
    for minute in range(0, 3 * 24 * 60, 10):
        assert evaluate(evaluator, 60.0 * minute, 100, 100) == (LagStatus.OK, 0)
    now = 3 * 24 * 3600.0
    evaluate(evaluator, now - 10, 100, 100)
    assert evaluate(evaluator, now, 101, 100) == (LagStatus.OK, 1)
    (found,) = evaluator.evaluate(now + 5, "billing", [PartitionOffsets(ORDERS, 0, 101, 100)], members=True)
    assert found.seconds is not None
    assert found.seconds.how is LagMethod.INTERPOLATED
    assert 5 <= found.seconds.seconds <= 15
    assert len(evaluator.histories[ORDERS]) <= 3


def test_groups_share_a_history_that_is_kept_for_the_slowest() -> None:
    """Points that the fast group has passed are kept for the slow group."""
    evaluator = LagEvaluator()
    for second in range(20):
        evaluator.add_end_offsets(second, {ORDERS: 10 * second}, {})
        evaluator.evaluate(second, "fast", [PartitionOffsets(ORDERS, 0, 10 * second, 10 * second)], members=True)
        evaluator.evaluate(second, "slow", [PartitionOffsets(ORDERS, 0, 10 * second, 50)], members=True)
        evaluator.expire(second)
    assert evaluator.histories[ORDERS].points[0][1] == 50
    (slow,) = evaluator.evaluate(20, "slow", [PartitionOffsets(ORDERS, 0, 190, 50)], members=False)
    assert slow.seconds == (15, LagMethod.INTERPOLATED)
