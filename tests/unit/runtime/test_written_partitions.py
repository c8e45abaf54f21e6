"""surgetank.runtime.written_partitions: where hanging transactions may be."""

from dataclasses import replace

from surgetank.runtime.written_partitions import WrittenPartitions, copies_of
from topology.flights import flights


def test_a_task_writes_to_its_own_number_and_to_every_partition_with_copies() -> None:
    """What another worker wrote last is known for the outputs only."""
    written = WrittenPartitions(("scores", "dead"), frozenset({("events", 0), ("events", 1)}))
    assert written.of_tasks([3]) == {("scores", 3), ("dead", 3)}
    assert written.swept_for([3]) == {("scores", 3), ("dead", 3), ("events", 0), ("events", 1)}
    assert written.swept_for([]) == written.copies


def test_copies_are_in_all_partitions_that_a_re_keyed_topic_has() -> None:
    """Not as many as declared; a topic that does not exist has none."""
    topic = flights.events.topic
    rekeying = replace(flights, events=replace(flights.events, differing_keys="rekey"))
    assert copies_of(rekeying, {topic: 3}) == {(topic, 0), (topic, 1), (topic, 2)}
    assert copies_of(rekeying, {}) == copies_of(flights, {topic: 3}) == frozenset()
