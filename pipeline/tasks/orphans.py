"""What a dead worker left open, and how its successor ends it at once.

After ``kill -9`` an open transaction holds back read_committed readers and, with pending offsets, the next owner,
until the broker's timeout. So the metadata of every committed offset names the transactional id of its owner, an
owner commits that claim before its first output, and the successor of an owner that is no longer in the group calls
``init_transactions`` with its id, which aborts whatever is open.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from pipeline.batch import Source
from pipeline.kafka import clients
from pipeline.settings import KafkaSettings

T = TypeVar("T")

REFRESH_SECONDS = 2.0
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
        found: dict[Source, TopicPartition | None] = {}
        for partition in self._committed(sources, timeout, stable=True):
            error = partition.error
            if error is not None and error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
                raise KafkaException(error)
            found[Source(partition.topic, partition.partition)] = None if error is not None else partition
        return found

    def last_claims(self, sources: list[Source], timeout: float) -> dict[Source, str | None]:
        """Return who last committed each source, also where something newer is pending."""
        return {
            Source(partition.topic, partition.partition): owner_of(partition.metadata)
            for partition in self._committed(sources, timeout, stable=False)
        }

    def live(self, timeout: float) -> set[str]:
        """Return the client ids of the group's members, which are their transactional ids."""
        return {member.client_id for member in self._members(timeout)}

    def namesakes(self, client_id: str, me: str | None, timeout: float) -> bool:
        """Whether another member of the group has this client id; ``me`` is my member id."""
        return any(member.client_id == client_id and member.member_id != me for member in self._members(timeout))

    def bounds(self, sources: list[Source], timeout: float) -> dict[Source, tuple[int, int]]:
        """Return the first offset and the last stable offset of each source."""
        low = self._offsets(sources, OffsetSpec.earliest(), timeout)
        high = self._offsets(sources, OffsetSpec.latest(), timeout)
        return {source: (low[source], high[source]) for source in sources}

    def fence(self, transactional_id: str, timeout: float) -> None:
        """Abort whatever the transactional id has open, and refuse its owner from now on."""
        producer = clients.transactional(self._kafka, transactional_id=transactional_id)
        producer.init_transactions(timeout)

    def _committed(self, sources: list[Source], timeout: float, *, stable: bool) -> list[TopicPartition]:
        wanted = ConsumerGroupTopicPartitions(self._group, [TopicPartition(*source) for source in sources])

        def ask(admin: AdminClient) -> list[TopicPartition]:
            answers = admin.list_consumer_group_offsets([wanted], require_stable=stable, request_timeout=timeout)
            return list(answers[self._group].result().topic_partitions)

        return self._ask(ask)

    def _members(self, timeout: float) -> list[Any]:
        def ask(admin: AdminClient) -> list[Any]:
            answers = admin.describe_consumer_groups([self._group], request_timeout=timeout)
            return list(answers[self._group].result().members)

        return self._ask(ask)

    def _offsets(self, sources: list[Source], spec: Any, timeout: float) -> dict[Source, int]:
        wanted = {TopicPartition(*source): spec for source in sources}

        def ask(admin: AdminClient) -> dict[Source, int]:
            answers = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout)
            return {Source(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}

        return self._ask(ask)

    def _ask(self, question: Callable[[AdminClient], T]) -> T:
        try:
            return question(self._admin)
        except KafkaException:
            # After a broker came back the client may go on asking with an old leader epoch until it looks at the
            # metadata again, minutes later. (A new client would do too, but destroying one with a question still
            # on its way has ended the process with an assertion in librdkafka.)
            with contextlib.suppress(KafkaException):
                self._admin.list_topics(timeout=REFRESH_SECONDS)
            raise
