"""Asks the brokers which operations this user may perform, and for their settings."""

from collections.abc import Collection
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource

from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

CALL_SECONDS = 10.0


def authorized_operations(kafka: KafkaSettings, topics: Collection[str], group: str) -> dict[str, set[str] | None]:
    """Return the operations, as READ, allowed on ``topic NAME`` of each topic and on ``group NAME``.

    None where the brokers do not tell. Waits for the brokers up to 10 s for each.
    """
    admin = clients.admin(kafka)
    asked = {"include_authorized_operations": True, "request_timeout": CALL_SECONDS}
    described = admin.describe_topics(TopicCollection(list(topics)), **asked) if topics else {}
    futures = {f"topic {name}": each for name, each in described.items()}
    futures[f"group {group}"] = admin.describe_consumer_groups([group], **asked)[group]
    return {resource: _operations(future) for resource, future in futures.items()}


def _operations(future: Any) -> set[str] | None:
    try:
        found = future.result().authorized_operations
    except KafkaException:
        return None
    return None if found is None else {operation.name for operation in found}


def broker_settings(kafka: KafkaSettings) -> tuple[int, dict[str, str] | None]:
    """Return the number of brokers, and the settings of one of them; None if they may not be read.

    Raises BrokerError if no broker answers.
    """
    admin = clients.admin(kafka)
    try:
        nodes = admin.describe_cluster(request_timeout=CALL_SECONDS).result().nodes
    except KafkaException as error:
        raise admin.failure(f"{kafka.bootstrap} does not describe its cluster", error) from None
    resource = ConfigResource(ConfigResource.Type.BROKER, str(nodes[0].id))
    try:
        entries = admin.describe_configs([resource], request_timeout=CALL_SECONDS)[resource].result()
    except KafkaException:
        return len(nodes), None
    return len(nodes), {name: entry.value for name, entry in entries.items() if entry.value is not None}
