"""Queries a running cluster: readiness, replicas in sync, broker settings."""

from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource, NewTopic

from surgetank.errors import BrokerError

_REQUEST_SECONDS = 2.0
_PROBE = "surgetank.ready"


@dataclass(frozen=True, slots=True)
class BrokerSetting:
    """A broker setting: its value, and Kafka's default (None: there is none)."""

    name: str
    value: str | None
    default: str | None


def unready(admin: AdminClient, cluster_id: str, brokers: int) -> str | None:
    """Return what the cluster with this id lacks before it can serve with this many brokers; None if nothing.

    Raises BrokerError when another cluster answers.
    """
    try:
        described = admin.describe_cluster(request_timeout=_REQUEST_SECONDS).result()
        if described.cluster_id != cluster_id:
            raise BrokerError(f"another cluster answers there ({described.cluster_id}, not {cluster_id})")
        if len(described.nodes) < brokers:
            return f"{len(described.nodes)} of {brokers} brokers are registered"
        # Only the broker itself answers this; the others list a killed broker until its session ends.
        for broker in range(1, brokers + 1):
            resource = _broker(broker)
            admin.describe_configs([resource], request_timeout=_REQUEST_SECONDS)[resource].result()
        # Asks the active controller, through a broker, to validate a replica on every broker. It creates nothing, and
        # is rejected until a controller is active and every broker is unfenced.
        probe = NewTopic(_PROBE, num_partitions=1, replication_factor=brokers)
        answer = admin.create_topics([probe], validate_only=True, request_timeout=_REQUEST_SECONDS)
        answer[_PROBE].result()
    except KafkaException as error:
        return _text(error)
    return None


def unreplicated(admin: AdminClient) -> str | None:
    """Return which partitions lack a replica in sync; None if every replica of every partition is in sync."""
    try:
        topics = admin.list_topics(timeout=_REQUEST_SECONDS).topics
    except KafkaException as error:
        return _text(error)
    behind = [
        f"{name}[{number}]"
        for name, topic in sorted(topics.items())
        for number, partition in topic.partitions.items()
        if len(partition.isrs) < len(partition.replicas)
    ]
    return f"{len(behind)} partitions lack a replica: {', '.join(behind[:5])}" if behind else None


def broker_settings(admin: AdminClient, broker: int) -> dict[str, BrokerSetting]:
    """Return all settings of a broker by name. Raises BrokerError if the broker does not answer."""
    resource = _broker(broker)
    try:
        entries = admin.describe_configs([resource], request_timeout=_REQUEST_SECONDS)[resource].result()
    except KafkaException as error:
        raise BrokerError(f"broker {broker} does not answer: {_text(error)}") from None
    return {name: BrokerSetting(name, entry.value, _default(entry)) for name, entry in sorted(entries.items())}


def _broker(number: int) -> ConfigResource:
    return ConfigResource(ConfigResource.Type.BROKER, str(number))


def _default(entry: Any) -> str | None:
    # A synonym is one source of the value; the last synonym is Kafka's own default.
    for synonym in [entry, *entry.synonyms.values()]:
        if synonym.source in (ConfigSource.DEFAULT_CONFIG, ConfigSource.DEFAULT_CONFIG.value):
            return None if synonym.value is None else str(synonym.value)
    return None


def _text(error: KafkaException) -> str:
    return str(error.args[0].str())
