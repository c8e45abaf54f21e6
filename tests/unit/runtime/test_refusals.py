"""surgetank.runtime.output_refusals: what is refused again and again from the same offsets will not pass."""

from confluent_kafka import KafkaError

from surgetank.records import TaskId, TopicPartition
from surgetank.runtime.output_refusals import REFUSALS_MAX, RefusalCounter

TASK, OTHER = TaskId("flights", 0), TaskId("flights", 1)
LARGE, DENIED = KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED


def at(offset: int, task: TaskId = TASK) -> dict[TaskId, dict[TopicPartition, int]]:
    """Return the committed offset of one task."""
    return {task: {TopicPartition("events", task.partition): offset}}


def test_the_same_refusal_from_the_same_offsets_is_for_good() -> None:
    """Not before it came so many times; other tasks of the transaction that went on meanwhile are not concerned."""
    counter = RefusalCounter()

    found = [counter.refused(LARGE, at(7) | at(number, OTHER)) for number in range(REFUSALS_MAX)]

    assert found == [[]] * (REFUSALS_MAX - 1) + [[TASK]]


def test_progress_another_refusal_or_another_place_begin_anew() -> None:
    """Only the same in a row counts."""
    counter = RefusalCounter()
    for _ in range(REFUSALS_MAX - 1):
        assert counter.refused(LARGE, at(7)) == []
    assert counter.refused(DENIED, at(7)) == []
    assert counter.refused(DENIED, at(8)) == []
    for _ in range(REFUSALS_MAX - 2):
        assert counter.refused(DENIED, at(8)) == []
    counter.committed([TASK])
    assert counter.refused(DENIED, at(8)) == []


def test_what_fails_for_now_never_counts() -> None:
    """A broker that is away is no refusal, however often it is met."""
    counter = RefusalCounter()

    assert not any(counter.refused(KafkaError._TIMED_OUT, at(7)) for _ in range(10 * REFUSALS_MAX))
