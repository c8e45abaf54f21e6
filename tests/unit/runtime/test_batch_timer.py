"""The times of a batch from its being taken to its commit are reported to the sizer."""

from collections.abc import Sequence

import numpy as np
import pytest

from surgetank.batch_sizing import BatchTimes
from surgetank.records import PartitionRecords, TaskId, TaskRecords, TopicPartition, large_binary
from surgetank.runtime.batch_timer import BatchTimer
from surgetank.runtime.task_batch import TaskBatch
from surgetank.serving.batch_sizer import FixedBatchSizer


class Clock:
    """A clock that a test sets; since the epoch it is 1,000 s ahead of its monotonic time."""

    at = 0.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return 1000.0 + self.at

    def monotonic(self) -> float:
        """Return the time that was set."""
        return self.at


class Reported(FixedBatchSizer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(10)
        self.batches: list[tuple[int, float]] = []
        self.transactions: list[tuple[list[BatchTimes], float]] = []

    def computed(self, rows: int, seconds: float) -> None:
        """Keep it."""
        self.batches.append((rows, seconds))

    def committed(self, batches: Sequence[BatchTimes], seconds: float) -> None:
        """Keep it."""
        self.transactions.append((list(batches), seconds))


def batch(number: int, *parts: tuple[str, list[int]]) -> TaskBatch:
    """Return a batch; each part is a topic and the timestamps of its records in ms since the epoch."""
    partitions = tuple(
        PartitionRecords(
            TopicPartition(topic, 0),
            len(times),
            np.arange(len(times), dtype=np.int64),
            np.array(times, dtype=np.int64),
            large_binary([None] * len(times)),
            large_binary([b""] * len(times)),
        )
        for topic, times in parts
    )
    return TaskBatch(number, (TaskRecords(TaskId("scoring", 0), 1, partitions),))


def test_the_age_of_the_oldest_event_is_that_at_the_commit() -> None:
    """Facts and records without a timestamp have none."""
    clock, sizer = Clock(), Reported()
    timer = BatchTimer(sizer, "events", clock)
    clock.at = 10.0
    timer.taken(batch(1, ("events", [1009_900, 1009_950]), ("facts", [5])))
    timer.taken(batch(2, ("events", [-1])))
    clock.at = 10.25
    timer.computed(1)
    clock.at = 10.5
    timer.committed([1, 2], 0.2)

    assert sizer.batches == [(3, 0.25)]
    ((found, seconds),) = sizer.transactions
    assert seconds == 0.2
    assert [(each.rows, each.taken_at) for each in found] == [(3, 10.0), (1, 10.0)]
    assert [each.taken_age for each in found] == [pytest.approx(0.1), 0.0]
    assert [each.committed_age for each in found] == [pytest.approx(0.6), pytest.approx(0.5)]


def test_the_batches_of_an_aborted_transaction_are_not_reported() -> None:
    """Their records are taken again, in other batches."""
    clock, sizer = Clock(), Reported()
    timer = BatchTimer(sizer, "events", clock)
    timer.taken(batch(1, ("events", [1000_000])))
    timer.aborted()
    timer.computed(1)
    timer.committed([1], 0.1)
    assert sizer.batches == []
    assert sizer.transactions == [([], 0.1)]
