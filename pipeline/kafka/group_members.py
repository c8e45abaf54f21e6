"""The members of a consumer group and the partitions that each of them owns."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.records import TopicPartition


def group_members(admin: AdminClient, group: str, timeout: float) -> list[Any]:
    """Return confluent-kafka's member descriptions; none for a group that does not exist. Raises KafkaException."""
    try:
        members: list[Any] = admin.describe_consumer_groups([group], request_timeout=timeout)[group].result().members
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise
        return []
    return members


def partition_owners(members: Iterable[Any]) -> dict[TopicPartition, str]:
    """Return for each owned partition the client id of its owner."""
    return {
        TopicPartition(tp.topic, tp.partition): member.client_id
        for member in members
        for tp in (member.assignment.topic_partitions if member.assignment else ())
    }
