"""Finds out why brokers reject records: rights that are missing, and the size limits of the topics."""

from collections.abc import Collection

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource

from surgetank.kafka import clients
from surgetank.settings import KafkaSettings

CALL_SECONDS = 5.0
_SIZE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_RIGHTS = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the right Read of the consumer group is missing",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "the right IdempotentWrite of the cluster is missing",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "the right Write of the transactional id is missing",
}


def causes_of_refusal(kafka: KafkaSettings, code: int, topics: Collection[str]) -> str:
    """Return a clause that explains a rejection of records of these topics, if the brokers report it; else ''."""
    admin = clients.admin(kafka)
    if code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        lacking = [topic for topic in sorted(topics) if not _may_write(admin, topic)]
        return f"the right Write of topic {' and of topic '.join(lacking)} is missing" if lacking else ""
    if code in _SIZE:
        return ", ".join(f"{topic} takes {limit} bytes" for topic in sorted(topics) if (limit := _limit(admin, topic)))
    return _RIGHTS.get(code, "")


def _may_write(admin: AdminClient, topic: str) -> bool:
    """Return whether the user may write a topic; True if that is unknown."""
    asked = TopicCollection([topic])
    futures = admin.describe_topics(asked, include_authorized_operations=True, request_timeout=CALL_SECONDS)
    try:
        allowed = futures[topic].result().authorized_operations
    except KafkaException as error:
        return bool(error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED)
    return allowed is None or AclOperation.WRITE in allowed or AclOperation.ALL in allowed


def _limit(admin: AdminClient, topic: str) -> str | None:
    """Return the ``max.message.bytes`` of a topic; None if it is unknown."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        found = admin.describe_configs([resource], request_timeout=CALL_SECONDS)[resource].result()
    except KafkaException:
        return None
    return str(found["max.message.bytes"].value)
