"""Topics are created while brokers learn of them at different times."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic

from surgetank.kafka import clients, provisioning
from surgetank.settings import KafkaSettings
from topology.flights import flights


@dataclass
class Broker:
    """Knows only the topics that were created through it; the cluster knows all."""

    cluster: set[str]
    known: dict[str, SimpleNamespace] = field(default_factory=dict)

    def list_topics(self, timeout: float) -> SimpleNamespace:
        """Return the topics that this broker knows."""
        return SimpleNamespace(cluster_id="one", topics=self.known)

    def describe_topics(self, topics: object, request_timeout: float) -> dict[str, "Future[None]"]:
        """Describe no topic as one that the user may not describe."""
        return {}

    def create_topics(self, topics: list[NewTopic]) -> dict[str, "Future[None]"]:
        """Create topics; those that the cluster has already fail."""
        made: dict[str, Future[None]] = {}
        for topic in topics:
            made[topic.topic] = future = Future[None]()
            if topic.topic in self.cluster:
                future.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)))
            else:
                future.set_result(None)
            partitions = {number: SimpleNamespace(leader=1) for number in range(topic.num_partitions)}
            self.known[topic.topic] = SimpleNamespace(partitions=partitions)
        return made


@pytest.mark.parametrize("there", [set(), {flights.scores.topic}])
def test_topics_that_another_broker_does_not_know_yet_are_not_missing(
    monkeypatch: pytest.MonkeyPatch, there: set[str]
) -> None:
    """Each client asks another broker: what one has created, or had before, another one does not list."""
    monkeypatch.setattr(clients, "admin", lambda _: Broker(there))
    made = provisioning.apply(KafkaSettings(), flights)
    assert made == [spec.name for spec in provisioning.needed(flights)]
