"""What a dead worker left open, and how its successor ends it at once.

After ``kill -9`` an open transaction holds back read_committed readers and, with pending offsets, the next owner,
until the broker's timeout. So the metadata of every committed offset names the transactional id of its owner, an
owner commits that claim before its first output, and the successor of an owner that is no longer in the group calls
``init_transactions`` with its id, which aborts whatever is open.
"""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.batch import Source
from pipeline.kafka import clients
from pipeline.settings import KafkaSettings

_MARK = "owner="


def claim(transactional_id: str) -> str:
    """Return the metadata that says whose offset this is."""
    return f"{_MARK}{transactional_id}"


def owner_of(metadata: str | None) -> str | None:
    """Return the transactional id that the metadata of an offset names, if it does."""
    return metadata.removeprefix(_MARK) if metadata and metadata.startswith(_MARK) else None


def dead(owners: Iterable[str | None], live: set[str], me: str) -> set[str]:
    """Return the owners that must be fenced: named, not me, and not in the group. A live member never is. Pure."""
    return {owner for owner in owners if owner and owner != me and owner not in live}


class Ground:
    """What the brokers say of a group's offsets, members and topics. Blocking calls; raises KafkaException."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._kafka = kafka
        self._group = group
        self._admin: AdminClient = clients.admin(kafka)

    def committed(self, sources: list[Source], timeout: float) -> dict[Source, TopicPartition | None]:
        """Return the stable committed offset of each source (offset -1001: none yet); None while it is unstable."""
        asked = ConsumerGroupTopicPartitions(self._group, [TopicPartition(*source) for source in sources])
        answer = self._admin.list_consumer_group_offsets([asked], require_stable=True, request_timeout=timeout)[
            self._group
        ].result()
        found: dict[Source, TopicPartition | None] = {}
        for partition in answer.topic_partitions:
            error = partition.error
            if error is not None and error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
                raise RuntimeError(f"{partition.topic}[{partition.partition}]: {error.str()}")
            found[Source(partition.topic, partition.partition)] = None if error is not None else partition
        return found

    def last_claims(self, sources: list[Source], timeout: float) -> dict[Source, str | None]:
        """Return who last committed each source, unstable or not."""
        asked = ConsumerGroupTopicPartitions(self._group, [TopicPartition(*source) for source in sources])
        answer = self._admin.list_consumer_group_offsets([asked], require_stable=False, request_timeout=timeout)[
            self._group
        ].result()
        return {Source(p.topic, p.partition): owner_of(p.metadata) for p in answer.topic_partitions}

    def live(self, timeout: float) -> set[str]:
        """Return the client ids of the group's members, which are their transactional ids."""
        described = self._admin.describe_consumer_groups([self._group], request_timeout=timeout)
        return {member.client_id for member in described[self._group].result().members}

    def namesakes(self, client_id: str, me: str | None, timeout: float) -> bool:
        """Whether another member of the group has this client id; ``me`` is my member id."""
        described = self._admin.describe_consumer_groups([self._group], request_timeout=timeout)
        members = described[self._group].result().members
        return any(member.client_id == client_id and member.member_id != me for member in members)

    def bounds(self, sources: list[Source], timeout: float) -> dict[Source, tuple[int, int]]:
        """Return the first offset and the last stable offset of each source."""
        low = self._offsets(sources, OffsetSpec.earliest(), timeout)
        high = self._offsets(sources, OffsetSpec.latest(), timeout)
        return {source: (low[source], high[source]) for source in sources}

    def fence(self, transactional_id: str, timeout: float) -> None:
        """Abort whatever the transactional id has open, and refuse its owner from now on."""
        producer = clients.transactional(self._kafka, transactional_id=transactional_id)
        producer.init_transactions(timeout)

    def _offsets(self, sources: list[Source], spec: Any, timeout: float) -> dict[Source, int]:
        asked = {TopicPartition(*source): spec for source in sources}
        answers = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout
        )
        return {Source(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}
