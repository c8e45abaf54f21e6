"""surgetank.runtime.record_queues: order, splitting, bounds, and tasks that wait."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surgetank.records import PartitionRecords, TaskId, TopicPartition, large_binary
from surgetank.runtime.record_order import ArrivalOrder, QueuedRecords
from surgetank.runtime.record_queues import RecordQueues


def records_at(partition: int, first: int, rows: int) -> PartitionRecords:
    """Return records whose values are their offsets."""
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
    """Also after a split, and not of reads that hold markers only."""
    queues = RecordQueues(rows_max=100, bytes_max=10**9, order=ArrivalOrder())
    task = TaskId("s", 0)
    queues.put([(task, 1, records_at(0, 5, 0)), (task, 1, records_at(0, 5, 4)), (task, 1, records_at(1, 7, 2))])
    queues.put([(task, 1, records_at(0, 9, 1))])
    assert queues.oldest() == {TopicPartition("t", 0): (5, 5), TopicPartition("t", 1): (7, 7)}
    queues.take(3, 10**9)
    assert queues.oldest() == {TopicPartition("t", 0): (8, 8), TopicPartition("t", 1): (7, 7)}
    queues.take(10, 10**9)
    assert queues.oldest() == {}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20)), max_size=20), st.lists(st.integers(1, 30), min_size=1)
)
def test_every_row_comes_out_once_in_order_and_no_batch_is_over_the_cap(
    arrivals: list[tuple[int, int]], caps: list[int]
) -> None:
    """Whatever is put is taken exactly once, in offset order within a partition, split where the cap says."""
    queues = RecordQueues(rows_max=10**6, bytes_max=10**9, order=ArrivalOrder())
    ends = {0: 0, 1: 0, 2: 0}
    for partition, rows in arrivals:
        queues.put([(TaskId("s", partition), 1, records_at(partition, ends[partition], rows))])
        ends[partition] += rows
    assert queues.rows == sum(ends.values())

    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for turn in range(10_000):
        if not queues:
            break
        cap = caps[turn % len(caps)]
        taken = queues.take(cap, 10**9)
        assert 0 < sum(len(task) for task in taken) <= cap
        for task in taken:
            for records in task.partitions:
                seen[task.task.partition] += records.offsets.tolist()
                assert [int(v or b"") for v in records.values.to_pylist()] == records.offsets.tolist()
                assert records.next_offset == records.offsets[-1] + 1

    assert {p: list(range(end)) for p, end in ends.items()} == seen
    assert queues.rows == 0


def test_full_queues_have_no_room_until_something_is_taken() -> None:
    """The fetcher waits while the bound is reached: that is what bounds the memory of a backlog."""
    queues = RecordQueues(rows_max=10, bytes_max=10**9, order=ArrivalOrder())
    queues.put([(TaskId("s", 0), 1, records_at(0, 0, 10))])
    assert not queues.wait_for_room(0)

    queues.take(1, 10**9)

    assert queues.wait_for_room(0)


class BothPartitions:
    """A ``RecordOrder`` that merges two partitions by offset, and waits while one of them has no records."""

    def next(self, oldest: Sequence[QueuedRecords]) -> tuple[QueuedRecords, int] | None:
        """Return the rows of one partition that precede the other one's."""
        if len(oldest) < 2:
            return None
        first, second = sorted(oldest, key=lambda queued: int(queued.records.offsets[0]))
        return first, int(np.searchsorted(first.records.offsets, second.records.offsets[0], side="right"))


def of_topic(topic: str, *offsets: int) -> PartitionRecords:
    """Return records of partition 0 of a topic."""
    at, n = np.array(offsets), len(offsets)
    empty = large_binary([b""] * n)
    return PartitionRecords(TopicPartition(topic, 0), offsets[-1] + 1, at, at, empty, empty)


def test_the_order_decides_within_a_task() -> None:
    """Two partitions are merged row by row, and what could be preceded by a later arrival stays queued."""
    queues = RecordQueues(rows_max=100, bytes_max=10**9, order=BothPartitions())
    queues.put([(TaskId("s", 0), 1, of_topic("a", 1, 4, 6)), (TaskId("s", 0), 1, of_topic("b", 2, 3, 5))])

    (taken,) = queues.take(100, 10**9)

    assert [offset for records in taken.partitions for offset in records.offsets.tolist()] == [1, 2, 3, 4, 5]
    assert (queues.rows, bool(queues)) == (1, False)
    assert queues.take(100, 10**9) == ()
    queues.put([(TaskId("s", 0), 1, of_topic("b", 7))])
    assert bool(queues)
    assert [records.offsets.tolist() for records in queues.take(100, 10**9)[0].partitions] == [[6]]


def test_a_task_that_waits_pauses_itself_only() -> None:
    """Once it holds its share; the other tasks go on, and keep room even if it had filled the queues."""
    queues = RecordQueues(rows_max=10, bytes_max=10**9, order=BothPartitions())
    waiting, other = TaskId("s", 0), TaskId("s", 1)
    queues.put([(waiting, 1, of_topic("a", *range(20))), (other, 1, of_topic("a", 1)), (other, 1, of_topic("b", 2))])
    assert (queues.paused(), queues.wait_for_room(0)) == (set(), False)

    taken = queues.take(100, 10**9)

    assert [(task.task, len(task)) for task in taken] == [(other, 1)]
    assert (queues.paused(), queues.wait_for_room(0)) == ({waiting}, True)
    queues.put([(other, 1, of_topic("a", *range(3, 8)))])
    assert not queues.wait_for_room(0)
    queues.put([(waiting, 1, of_topic("b", 30))])
    assert queues.paused() == set()
    assert [(task.task, len(task)) for task in queues.take(100, 10**9)] == [(waiting, 20), (other, 1)]


def test_a_task_that_waits_with_few_records_is_not_paused() -> None:
    """The records that it waits for must arrive."""
    queues = RecordQueues(rows_max=10, bytes_max=10**9, order=BothPartitions())
    queues.put([(TaskId("s", 0), 1, of_topic("a", 1)), (TaskId("s", 1), 1, of_topic("a", 1))])
    assert queues.take(100, 10**9) == ()
    assert queues.paused() == set()


def test_discarding_a_task_leaves_the_others() -> None:
    """What waits for a task that was given up is thrown away; the rest stays in order."""
    queues = RecordQueues(rows_max=100, bytes_max=10**9, order=ArrivalOrder())
    queues.put([(TaskId("s", p), 1, records_at(p, 0, 3)) for p in (0, 1)])

    queues.discard({TaskId("s", 0)})

    assert [each.task.partition for each in queues.take(100, 10**9)] == [1]
    assert queues.rows == 0


def test_queues_are_full_at_their_bound_of_bytes() -> None:
    """Few large records are held back as many small ones are; what is taken or discarded makes room."""
    queues = RecordQueues(rows_max=10**6, bytes_max=100, order=ArrivalOrder())
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


def test_events_have_large_headers() -> None:
    """Headers fill the queues and batches as keys and values do."""
    queues = RecordQueues(rows_max=10**6, bytes_max=100, order=ArrivalOrder())
    records = replace(sized([1, 1, 1]), header_bytes=np.array([0, 60, 40]))

    queues.put([(TaskId("s", 0), 1, records)])

    assert queues.payload_bytes == 103
    assert not queues.wait_for_room(0)
    (taken,) = queues.take(10, 62)
    assert len(taken) == 2
    assert queues.payload_bytes == 41
    assert queues.wait_for_room(0)


@given(
    st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=8),
    st.integers(1, 12),
    st.integers(1, 90),
)
def test_no_batch_is_over_its_bound_of_bytes_unless_it_is_one_record(
    reads: list[list[int]], rows_max: int, bytes_max: int
) -> None:
    """Batches are as large as both bounds allow, and every row comes out once, in order."""
    queues = RecordQueues(rows_max=10**6, bytes_max=10**9, order=ArrivalOrder())
    queues.put([(TaskId("s", 0), 1, sized(sizes)) for sizes in reads])
    expected = [size for sizes in reads for size in sizes]

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
    """Return records whose keys and values have these many bytes together."""
    offsets = np.arange(len(sizes))
    keys = [None if size % 3 == 0 else bytes(size // 3) for size in sizes]
    values = [bytes(size - len(key or b"")) for size, key in zip(sizes, keys, strict=True)]
    source = TopicPartition("t", 0)
    return PartitionRecords(source, len(sizes), offsets, offsets, large_binary(keys), large_binary(values))


def lengths(records: PartitionRecords) -> list[int]:
    """Return the bytes of key and value of each record."""
    pairs = zip(records.keys.to_pylist(), records.values.to_pylist(), strict=True)
    return [len(key or b"") + len(value or b"") for key, value in pairs]
