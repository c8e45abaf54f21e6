"""surgetank.runtime.poll_result: what a consumer gave, told apart."""

from confluent_kafka import KafkaError, Message

from surgetank.records import TopicPartition
from surgetank.runtime.poll_result import by_partition, split_poll_result


def record(topic: str, partition: int, offset: int) -> Message:
    """Return a record."""
    return Message(topic=topic, partition=partition, offset=offset, key=b"a")


def failure(code: int, *, retriable: bool = False, **where: object) -> Message:
    """Return an error as consumers give it, in the place of a record."""
    return Message(error=KafkaError(code, retriable=retriable), **where)


def test_messages_stay_in_order_and_are_told_apart_by_topic_and_partition() -> None:
    """A partition that comes again is another run; of one topic only partitions are looked at."""
    messages = [record("a", 0, 1), record("a", 0, 2), record("a", 1, 7), record("b", 1, 3), record("a", 0, 4)]
    found = [(source, [each.offset() for each in theirs]) for source, theirs in by_partition(messages, one_topic=False)]
    assert found == [
        (TopicPartition("a", 0), [1, 2]),
        (TopicPartition("a", 1), [7]),
        (TopicPartition("b", 1), [3]),
        (TopicPartition("a", 0), [4]),
    ]
    assert [source for source, _ in by_partition(messages[:3], one_topic=True)] == [
        TopicPartition("a", 0),
        TopicPartition("a", 1),
    ]
    assert list(by_partition([], one_topic=False)) == []


def test_an_error_of_no_partition_is_nobodys() -> None:
    """Also where it names a topic: it is not taken for one of partition 0."""
    of_nothing = failure(KafkaError.GROUP_AUTHORIZATION_FAILED)
    of_a_topic = failure(KafkaError.TOPIC_AUTHORIZATION_FAILED, topic="a")
    found = [source for source, _ in by_partition([record("a", 0, 1), of_nothing, of_a_topic], one_topic=False)]
    assert found == [TopicPartition("a", 0), TopicPartition("", -1), TopicPartition("a", -1)]


def test_records_the_end_and_what_will_not_pass_are_sifted() -> None:
    """An end is an offset; what Kafka mends by itself is passed over."""
    end = failure(KafkaError._PARTITION_EOF, topic="a", partition=0, offset=9)
    passing = failure(KafkaError.LEADER_NOT_AVAILABLE, retriable=True, topic="a", partition=0)
    lasting = failure(KafkaError.TOPIC_AUTHORIZATION_FAILED, topic="a", partition=0)
    first, second = record("a", 0, 1), record("a", 0, 2)
    assert split_poll_result([first, second]) == ([first, second], None, [])
    records, at, troubles = split_poll_result([first, end, passing, second, lasting])
    assert (records, at) == ([first, second], 9)
    assert [error.code() for error in troubles] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
