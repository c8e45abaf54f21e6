"""surgetank.kafka.topic_reader: the offsets of partitions while their leaders move, and errors of reading."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from surgetank.errors import BrokerError, SurgetankError, TopicsError
from surgetank.kafka.clients import Admin
from surgetank.kafka.columnar.results import PartitionError
from surgetank.kafka.topic_reader import offsets, raise_if_unreadable
from surgetank.records import TopicPartition

SOURCE = TopicPartition("events", 3)


class Answers:
    """An admin client whose requests for offsets get these answers in turn: an error's code, or an offset after -1."""

    def __init__(self, *errors: int) -> None:
        self.left = list(errors)

    def list_offsets(self, request: dict[Any, Any], **_: object) -> dict[Any, "Future[Any]"]:
        """Answer for each partition."""
        found: Future[Any] = Future()
        if self.left:
            found.set_exception(KafkaException(KafkaError(self.left.pop(0))))
        else:
            found.set_result(SimpleNamespace(offset=42))
        return dict.fromkeys(request, found)

    def failure(self, what: str, error: KafkaException) -> BrokerError:
        """Return the error to raise."""
        return BrokerError(f"{what}: {error.args[0].str()}")


def asked(answers: Answers, sources: Sequence[TopicPartition] = (SOURCE,)) -> dict[TopicPartition, int]:
    """Ask for the ends."""
    return offsets(cast("Admin", answers), sources, "latest")


@pytest.mark.parametrize(
    "error",
    [
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
    ],
)
def test_offsets_are_asked_for_again_while_a_leader_moves(error: int) -> None:
    """Brokers answer so after a restart, and while a partition changes its leader."""
    assert asked(Answers(error, error)) == {SOURCE: 42}


def test_other_errors_of_offsets_are_raised_at_once() -> None:
    """They do not pass by themselves."""
    answers = Answers(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(BrokerError, match=r"the offsets of topic 'events' are not known: .*uthoriz"):
        asked(answers)
    assert len(answers.left) == 1


@pytest.mark.parametrize(
    ("code", "raised", "message"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicsError, r"events\[3\] at kafka:9092: the topic was deleted"),
        (KafkaError._UNKNOWN_TOPIC, TopicsError, r"events\[3\] at kafka:9092: the topic was deleted"),
        (KafkaError.OFFSET_OUT_OF_RANGE, BrokerError, r"events\[3\] at kafka:9092 cannot be read"),
    ],
)
def test_an_error_of_a_partition_names_it(code: int, raised: type[SurgetankError], message: str) -> None:
    """The reader of batches and the reader of a whole topic raise the same."""
    with pytest.raises(raised, match=message):
        raise_if_unreadable("kafka:9092", PartitionError(SOURCE, KafkaError(code)))


def test_an_error_of_no_partition_is_left_to_the_client() -> None:
    """A lost connection is repaired by librdkafka."""
    lost = KafkaError(KafkaError._ALL_BROKERS_DOWN)
    raise_if_unreadable("kafka:9092", PartitionError(TopicPartition("", -1), lost))
    with pytest.raises(BrokerError):
        raise_if_unreadable("kafka:9092", PartitionError(SOURCE, lost))
