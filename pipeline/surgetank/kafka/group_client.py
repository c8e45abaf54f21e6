"""A consumer group's offsets, members and topics, and the owner that each committed offset names in its metadata."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.kafka import clients
from surgetank.kafka.group_members import GroupMember, members_of_existing
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings


class GroupClient:
    """Queries a group's offsets, members and topics. For one thread; timeouts are seconds; raises KafkaException.

    Offsets are read through consumers, not an admin client: after an outage librdkafka's admin client may time out for
    minutes, and an admin request that timed out has ended the process with an assertion. A consumer that failed is
    replaced: a failed consumer was observed to report "unknown partition" for minutes for a topic that every broker
    and each new client knew (ops/decisions/0002).
    """

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self.kafka = kafka
        self.group_id = group

    def committed(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, int] | None:
        """Return the stable committed offset of each partition (negative: none); None while any is unstable."""
        try:
            found = self._stable.committed([KafkaTopicPartition(*source) for source in sources], timeout)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._TIMED_OUT:
                return None
            self._forget()
            raise
        return {TopicPartition(partition.topic, partition.partition): partition.offset for partition in found}

    def offset_owners(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, OffsetOwner | None]:
        """Return the worker that last committed each partition, also of partitions with a pending newer offset."""
        with self._replaced_on_failure():
            found = self._pending.committed([KafkaTopicPartition(*source) for source in sources], timeout)
            return {TopicPartition(each.topic, each.partition): OffsetOwner.of(each.metadata) for each in found}

    def owners(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, str | None]:
        """Return the transactional id of the worker that last committed each partition, as ``offset_owners``."""
        found = self.offset_owners(sources, timeout)
        return {source: None if owner is None else owner.transactional_id for source, owner in found.items()}

    def addresses(self, sources: list[TopicPartition], timeout: float) -> set[str]:
        """Return the HTTP addresses of the owners that last committed these partitions."""
        found = self.offset_owners(sources, timeout).values()
        return {owner.address for owner in found if owner is not None and owner.address}

    def members(self, timeout: float) -> list[GroupMember]:
        """Return the group's members."""
        return members_of_existing(clients.admin(self.kafka), self.group_id, timeout)

    def live(self, timeout: float) -> set[str]:
        """Return the client ids of the group's members; those of workers are their transactional ids."""
        return {member.client_id for member in self.members(timeout)}

    def duplicate_members(self, client_id: str, me: str | None, timeout: float) -> bool:
        """Return whether another member of the group has this client id; ``me`` is the own member id."""
        return any(member.client_id == client_id and member.member_id != me for member in self.members(timeout))

    def bounds(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset and the last stable offset of each partition."""
        with self._replaced_on_failure():
            return {
                source: self._stable.get_watermark_offsets(KafkaTopicPartition(*source), timeout, cached=False)
                for source in sources
            }

    def high_watermarks(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, int]:
        """Return the high watermark of each partition: its end, including open transactions."""
        with self._replaced_on_failure():
            return {
                source: self._pending.get_watermark_offsets(KafkaTopicPartition(*source), timeout, cached=False)[1]
                for source in sources
            }

    def partitions(self, topic: str, timeout: float) -> int:
        """Return the number of partitions of a topic."""
        with self._replaced_on_failure():
            return len(self._stable.list_topics(topic, timeout).topics[topic].partitions)

    def exists(self, topic: str, timeout: float) -> bool:
        """Return whether the topic exists. An admin client would create it where brokers create topics on request."""
        with self._replaced_on_failure():
            return self._stable.list_topics(topic, timeout).topics[topic].error is None

    @property
    def group(self) -> Any:
        """The group metadata, without a member."""
        return self._stable.consumer_group_metadata()

    @cached_property
    def _stable(self) -> Consumer:
        return clients.reader(self.kafka, group_id=self.group_id)

    @cached_property
    def _pending(self) -> Consumer:
        return clients.reader(self.kafka, group_id=self.group_id, isolation_level="read_uncommitted")

    @contextmanager
    def _replaced_on_failure(self) -> Iterator[None]:
        """Replace the consumers if a query fails."""
        try:
            yield
        except KafkaException:
            self._forget()
            raise

    def _forget(self) -> None:
        """Close the consumers, so that the next query creates new ones."""
        for name in ("_stable", "_pending"):
            if (consumer := self.__dict__.pop(name, None)) is not None:
                clients.close_in_background(consumer)
