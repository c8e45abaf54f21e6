"""The inbox: order, splitting, bounds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import PartitionRecords, TaskId, TopicPartition
from pipeline.runtime.record_queues import RecordQueues


def run_of(partition: int, first: int, rows: int) -> PartitionRecords:
    """Make a run whose values tell their offsets."""
    offsets = np.arange(first, first + rows)
    return PartitionRecords(
        TopicPartition("t", partition),
        first + rows,
        offsets,
        offsets,
        [None] * rows,
        [b"%d" % o for o in offsets.tolist()],
    )


def test_the_oldest_waiting_record_of_each_source_is_known() -> None:
    """Also when its run was split, and not of runs that hold markers only."""
    inbox = RecordQueues(rows_max=100)
    task = TaskId("s", 0)
    inbox.put([(task, 1, run_of(0, 5, 0)), (task, 1, run_of(0, 5, 4)), (task, 1, run_of(1, 7, 2))])
    inbox.put([(task, 1, run_of(0, 9, 1))])
    assert inbox.heads() == {TopicPartition("t", 0): (5, 5), TopicPartition("t", 1): (7, 7)}
    inbox.take(3)
    assert inbox.heads() == {TopicPartition("t", 0): (8, 8), TopicPartition("t", 1): (7, 7)}
    inbox.take(10)
    assert inbox.heads() == {}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), max_size=20), st.lists(st.integers(1, 30), min_size=1)
)
def test_every_row_comes_out_once_in_order_and_no_batch_is_over_the_cap(
    arrivals: list[tuple[int, int]], caps: list[int]
) -> None:
    """Whatever is put is taken exactly once, in offset order within a partition, split where the cap says."""
    inbox = RecordQueues(rows_max=10**6)
    ends = {0: 0, 1: 0, 2: 0}
    for partition, rows in arrivals:
        inbox.put([(TaskId("s", partition), 1, run_of(partition, ends[partition], rows))])
        ends[partition] += rows
    assert inbox.rows == sum(ends.values())

    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for turn in range(10_000):
        if not inbox:
            break
        cap = caps[turn % len(caps)]
        slices = inbox.take(cap)
        assert 0 < sum(len(piece) for piece in slices) <= cap
        for piece in slices:
            for run in piece.runs:
                seen[piece.task.partition] += run.offsets.tolist()
                assert [int(v or b"") for v in run.values] == run.offsets.tolist()
                assert run.next_offset == run.offsets[-1] + 1

    assert {p: list(range(end)) for p, end in ends.items()} == seen
    assert inbox.rows == 0


def test_a_full_inbox_says_so_until_something_is_taken() -> None:
    """The fetcher waits while the bound is reached: that is what bounds the memory of a backlog."""
    inbox = RecordQueues(rows_max=10)
    inbox.put([(TaskId("s", 0), 1, run_of(0, 0, 10))])
    assert not inbox.wait_for_room(0)

    inbox.take(1)

    assert inbox.wait_for_room(0)


def test_discarding_a_task_leaves_the_others() -> None:
    """What waits for a task that was given up is thrown away; the rest stays in order."""
    inbox = RecordQueues(rows_max=100)
    inbox.put([(TaskId("s", p), 1, run_of(p, 0, 3)) for p in (0, 1)])

    inbox.discard({TaskId("s", 0)})

    assert [piece.task.partition for piece in inbox.take(100)] == [1]
    assert inbox.rows == 0
