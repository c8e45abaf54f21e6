"""Tests of the offset ranges that hold the records of a key after several changes of the partition count."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import StateCorrupt
from surgetank.migration.partition_history import PartitionEra, PartitionHistory, era_of, longest, offset_ranges
from surgetank.migration.partitioners import crc32

TOPIC = "payments"
TWICE = PartitionHistory("crc32", (PartitionEra(2, {TOPIC: (10, 0)}), PartitionEra(3, {TOPIC: (15, 4, 7)})))


def test_without_growth_a_task_has_its_own_partition() -> None:
    """From its beginning to its end; nothing, where nothing lies."""
    (stretch,) = offset_ranges(None, TOPIC, 3, 9)
    assert (stretch.partition, stretch.start, stretch.end, stretch.shared) == (3, 0, 9, False)
    assert offset_ranges(None, TOPIC, 3, 0) == []


def test_after_growth_all_partitions_of_before_come_first() -> None:
    """Stage by stage up to where each ended, with keys of others in them; then the rest of the own partition."""
    found = [(each.partition, each.start, each.end, each.shared) for each in offset_ranges(TWICE, TOPIC, 2, 20)]
    assert found == [(0, 0, 10, True), (0, 10, 15, True), (1, 0, 4, True), (2, 0, 7, True), (2, 7, 20, False)]
    assert offset_ranges(TWICE, TOPIC, 5, 2)[-1].start == 0


KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"])


@given(st.lists(st.tuples(st.integers(1, 5), st.lists(KEYS, max_size=20)), min_size=1, max_size=4))
def test_every_key_is_read_in_the_order_in_which_it_was_sent(stages: list[tuple[int, list[bytes]]]) -> None:
    """Whatever the numbers of partitions were, the stretches of a task give its keys, all events, in order."""
    log: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    over: list[PartitionEra] = []
    partitions = 0
    for more, sent in stages:
        if partitions:
            over.append(PartitionEra(partitions, {TOPIC: tuple(len(log[number]) for number in range(partitions))}))
        partitions += more
        for key in sent:
            log[crc32(key, partitions)].append((key, sum(map(len, log.values()))))
    growth = PartitionHistory("crc32", tuple(over)) if over else None
    for task in range(partitions):
        read = [
            record
            for each in offset_ranges(growth, TOPIC, task, len(log[task]))
            for record in log[each.partition][each.start : each.end]
            if not each.shared or crc32(record[0], partitions) == task
        ]
        for key in {key for key, _ in read}:
            assert [at for each, at in read if each == key] == sorted(
                at for lying in log.values() for each, at in lying if each == key
            )
        assert {key for key, _ in read} == {
            key for lying in log.values() for key, _ in lying if crc32(key, partitions) == task
        }


def test_the_stage_of_a_record_is_told_by_its_offset() -> None:
    """Below the end of a stage it was processed in that, or an earlier one."""
    assert [era_of(TWICE, TOPIC, 0, offset) for offset in (9, 10, 14, 15)] == [0, 1, 1, 2]
    assert [era_of(TWICE, TOPIC, number, 0) for number in (1, 2, 7)] == [1, 1, 2]
    assert era_of(None, TOPIC, 0, 0) == 0


def test_a_topic_that_is_read_since_has_no_stages_before() -> None:
    """A table may be declared, with facts of its own, after the pipeline grew."""
    found = [(each.partition, each.start, each.end, each.shared) for each in offset_ranges(TWICE, "shops", 2, 20)]
    assert found == [(2, 0, 20, False)]
    assert era_of(TWICE, "shops", 0, 0) == 2


def test_growth_comes_back_from_its_record() -> None:
    """And what is none is damage."""
    assert PartitionHistory.load(TWICE.dump()) == TWICE
    for wrong in (b"", b"{}", b'{"partitioner": "sticky", "stages": []}', b'{"partitioner": "crc32", "stages": [1]}'):
        with pytest.raises(StateCorrupt, match="cannot be read"):
            PartitionHistory.load(wrong)


def test_the_longest_growth_counts() -> None:
    """A table that was declared later knows less."""
    assert longest([None, PartitionHistory("crc32", TWICE.stages[:1]), TWICE, None]) == TWICE
    assert longest([None]) is None
