"""surgetank.runtime.foreign_members: members of the group that take partitions and score nothing."""

import logging
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.group_members import GroupMember
from surgetank.records import TopicPartition
from surgetank.runtime.foreign_members import CHECK_SECONDS, ForeignMembersCheck, foreign_members
from surgetank.telemetry.metrics import Metrics

TAKEN = (TopicPartition("events", 1), TopicPartition("events", 3))
WORKER = GroupMember("1", "flights-w1", "/10.0.0.1", (TopicPartition("events", 0),))
OTHER = GroupMember("2", "rdkafka", "/10.0.0.9", TAKEN)


class Group:
    """A group whose members a test sets; None: the brokers do not answer."""

    group_id = "flights"

    def __init__(self, members: list[GroupMember] | None) -> None:
        self.current = members
        self.asked = 0

    def partitions(self, topic: str, timeout: float) -> int:
        """Return a number if the brokers answer."""
        if self.current is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 4

    def members(self, timeout: float) -> list[GroupMember]:
        """Return the members."""
        assert self.current is not None, "an admin client is used only while brokers respond"
        self.asked += 1
        return self.current


class Check:
    """A check of a group in memory, with the value of its metric."""

    def __init__(self, members: list[GroupMember] | None) -> None:
        self.group, self.metrics, self.minute = Group(members), Metrics(), 0
        self._check = ForeignMembersCheck(
            cast("GroupClient", self.group), pipeline="flights", topic="events", metrics=self.metrics
        )

    def look(self, members: list[GroupMember] | None) -> float | None:
        """Return the metric a minute later, with other members."""
        self.group.current = members
        self.minute += 1
        self._check.look(self.minute * CHECK_SECONDS)
        self._check.look((self.minute + 0.9) * CHECK_SECONDS)
        return self.metrics.foreign_members.value()


def test_another_consumer_has_the_id_of_the_group(caplog: pytest.LogCaptureFixture) -> None:
    """Its client id, host and partitions are named, once; the metric counts it until it has left."""
    check = Check([])
    with caplog.at_level(logging.INFO):
        assert [check.look([WORKER]), check.look([WORKER, OTHER]), check.look([WORKER, OTHER])] == [0, 1, 1]
        assert check.look([WORKER]) == 0
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "'rdkafka' at /10.0.0.9 of group flights is no worker" in warnings[0]
    assert "holds 2 partitions" in warnings[0]
    assert "all members of group flights are workers again" in caplog.text


def test_the_group_is_described_once_a_minute_and_only_while_brokers_respond() -> None:
    """The last result stays: that no broker responds is no change of the group."""
    check = Check([])
    assert [check.look(each) for each in ([OTHER], None, [OTHER])] == [1, 1, 1]
    assert check.group.asked == 2


def test_workers_of_the_pipeline_are_told_by_their_client_id() -> None:
    """A worker of a pipeline with a longer name joins another group; if it is in this one, it is foreign."""
    other = GroupMember("3", "flightsb-w1", "/10.0.0.1", ())
    assert foreign_members([WORKER, OTHER, other], "flights") == {OTHER, other}
