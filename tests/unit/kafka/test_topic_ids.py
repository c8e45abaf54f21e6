"""The ids of topics, as the brokers give them."""

from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import TopicCollection, Uuid
from confluent_kafka.admin import TopicDescription

from surgetank.kafka import clients, provisioning
from surgetank.settings import KafkaSettings


class TwoTopics:
    """An admin client of brokers that give one of two topics an id."""

    def describe_topics(self, topics: TopicCollection, **_: Any) -> dict[str, "Future[TopicDescription]"]:
        """Return the descriptions of both topics."""
        found: dict[str, Future[TopicDescription]] = {"with": Future(), "without": Future()}
        found["with"].set_result(TopicDescription("with", Uuid(1, 2), False, []))
        found["without"].set_result(TopicDescription("without", Uuid(0, 0), False, []))
        return found


def test_an_id_of_zeros_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands for a topic without an id."""
    monkeypatch.setattr(clients, "admin", lambda _: TwoTopics())
    assert provisioning.ids(KafkaSettings(), ["with", "without"]) == {"with": str(Uuid(1, 2)), "without": ""}
