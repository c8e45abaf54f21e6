"""The inbox: order, splitting, bounds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import PartitionRecords, TaskId, TopicPartition, large_binary
from pipeline.runtime.record_queues import RecordQueues


def run_of(partition: int, first: int, rows: int) -> PartitionRecords:
    """Make a run whose values tell their offsets."""
    offsets = np.arange(first, first + rows)
    return PartitionRecords(
        TopicPartition("t", partition),
        first + rows,
        offsets,
        offsets,
        large_binary([None] * rows),
        large_binary([b"%d" % o for o in offsets.tolist()]),
    )


def test_the_oldest_waiting_record_of_each_source_is_known() -> None:
    """Also when its run was split, and not of runs that hold markers only."""
    inbox = RecordQueues(rows_max=100, bytes_max=10**9)
    task = TaskId("s", 0)
    inbox.put([(task, 1, run_of(0, 5, 0)), (task, 1, run_of(0, 5, 4)), (task, 1, run_of(1, 7, 2))])
    inbox.put([(task, 1, run_of(0, 9, 1))])
    assert inbox.oldest() == {TopicPartition("t", 0): (5, 5), TopicPartition("t", 1): (7, 7)}
    inbox.take(3, 10**9)
    assert inbox.oldest() == {TopicPartition("t", 0): (8, 8), TopicPartition("t", 1): (7, 7)}
    inbox.take(10, 10**9)
    assert inbox.oldest() == {}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), max_size=20), st.lists(st.integers(1, 30), min_size=1)
)
def test_every_row_comes_out_once_in_order_and_no_batch_is_over_the_cap(
    arrivals: list[tuple[int, int]], caps: list[int]
) -> None:
    """Whatever is put is taken exactly once, in offset order within a partition, split where the cap says."""
    inbox = RecordQueues(rows_max=10**6, bytes_max=10**9)
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
        slices = inbox.take(cap, 10**9)
        assert 0 < sum(len(piece) for piece in slices) <= cap
        for piece in slices:
            for run in piece.partitions:
                seen[piece.task.partition] += run.offsets.tolist()
                assert [int(v or b"") for v in run.values.to_pylist()] == run.offsets.tolist()
                assert run.next_offset == run.offsets[-1] + 1

    assert {p: list(range(end)) for p, end in ends.items()} == seen
    assert inbox.rows == 0


def test_a_full_inbox_says_so_until_something_is_taken() -> None:
    """The fetcher waits while the bound is reached: that is what bounds the memory of a backlog."""
    inbox = RecordQueues(rows_max=10, bytes_max=10**9)
    inbox.put([(TaskId("s", 0), 1, run_of(0, 0, 10))])
    assert not inbox.wait_for_room(0)

    inbox.take(1, 10**9)

    assert inbox.wait_for_room(0)


def test_discarding_a_task_leaves_the_others() -> None:
    """What waits for a task that was given up is thrown away; the rest stays in order."""
    inbox = RecordQueues(rows_max=100, bytes_max=10**9)
    inbox.put([(TaskId("s", p), 1, run_of(p, 0, 3)) for p in (0, 1)])

    inbox.discard({TaskId("s", 0)})

    assert [piece.task.partition for piece in inbox.take(100, 10**9)] == [1]
    assert inbox.rows == 0


def test_queues_are_full_at_their_bound_of_bytes() -> None:
    """Few large records are held back as many small ones are; what is taken or discarded makes room."""
    queues = RecordQueues(rows_max=10**6, bytes_max=100)
    tasks = [TaskId("s", number) for number in (0, 1)]
    queues.put([(tasks[0], 1, sized([40, 30])), (tasks[1], 1, sized([20, 9]))])
    assert queues.payload_bytes == 99
    assert queues.wait_for_room(0)
    queues.put([(tasks[0], 1, sized([1]))])
    assert not queues.wait_for_room(0)

    queues.discard({tasks[1]})
    assert queues.payload_bytes == 71
    queues.take(1, 10**9)

    assert queues.payload_bytes == 31
    assert queues.rows == 2


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=8),
    st.integers(1, 12),
    st.integers(1, 90),
)
def test_no_batch_is_over_its_bound_of_bytes_unless_it_is_one_record(
    runs: list[list[int]], rows_max: int, bytes_max: int
) -> None:
    """Batches are as large as both bounds allow, and every row comes out once, in order."""
    queues = RecordQueues(rows_max=10**6, bytes_max=10**9)
    queues.put([(TaskId("s", 0), 1, sized(sizes)) for sizes in runs])
    expected = [size for sizes in runs for size in sizes]

    taken: list[int] = []
    while queues:
        batch = [
            size for piece in queues.take(rows_max, bytes_max) for run in piece.partitions for size in lengths(run)
        ]
        rest = expected[len(taken) + len(batch) :]
        assert len(batch) <= rows_max
        assert sum(batch) <= bytes_max or len(batch) == 1
        assert not rest or len(batch) == rows_max or sum(batch) + rest[0] > bytes_max
        taken += batch

    assert taken == expected
    assert (queues.rows, queues.payload_bytes) == (0, 0)


def sized(sizes: list[int]) -> PartitionRecords:
    """Make a run of records whose keys and values have these many bytes together."""
    offsets = np.arange(len(sizes))
    keys = [None if size % 3 == 0 else bytes(size // 3) for size in sizes]
    values = [bytes(size - len(key or b"")) for size, key in zip(sizes, keys, strict=True)]
    source = TopicPartition("t", 0)
    return PartitionRecords(source, len(sizes), offsets, offsets, large_binary(keys), large_binary(values))


def lengths(run: PartitionRecords) -> list[int]:
    """Return the bytes of key and value of each record."""
    pairs = zip(run.keys.to_pylist(), run.values.to_pylist(), strict=True)
    return [len(key or b"") + len(value or b"") for key, value in pairs]
