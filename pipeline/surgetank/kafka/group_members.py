"""The members of a consumer group and the partitions that each of them owns."""

from collections.abc import Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from surgetank.records import TopicPartition


class GroupMember(NamedTuple):
    """A member of a consumer group: its id in the group, the client's id and host, and its partitions, sorted."""

    member_id: str
    client_id: str
    host: str
    partitions: tuple[TopicPartition, ...]


def group_members(admin: AdminClient, group: str, timeout: float) -> list[GroupMember]:
    """Return the members; none for a group that does not exist. Raises KafkaException."""
    try:
        return members_of_existing(admin, group, timeout)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise
        return []


def members_of_existing(admin: AdminClient, group: str, timeout: float) -> list[GroupMember]:
    """Return the members. Raises KafkaException, also for a group that does not exist."""
    members = admin.describe_consumer_groups([group], request_timeout=timeout)[group].result().members
    return [
        GroupMember(
            each.member_id,
            each.client_id,
            each.host,
            tuple(
                sorted(
                    TopicPartition(tp.topic, tp.partition)
                    for tp in (each.assignment.topic_partitions if each.assignment else ())
                )
            ),
        )
        for each in members
    ]


def partition_owners(members: Iterable[GroupMember]) -> dict[TopicPartition, str]:
    """Return for each owned partition the client id of its owner."""
    return {source: member.client_id for member in members for source in member.partitions}
