"""The offsets of one group: committed and end offsets of each partition, and the owner of the partition."""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient

from pipeline.errors import BrokerError
from pipeline.kafka import clients
from pipeline.kafka.topic_reader import offsets, partitions
from pipeline.records import TopicPartition
from pipeline.settings import KafkaSettings

_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The offsets of one partition, as seen by ``read_committed`` consumers.

    ``committed`` is None if the group never committed; the lag then counts from ``start``. ``owner`` is the client id
    of the member that owns the partition, None if no member owns it.
    """

    source: TopicPartition
    start: int
    end: int
    committed: int | None
    owner: str | None

    @property
    def lag(self) -> int:
        """Return the records between the committed offset and the end, never below 0."""
        done = self.start if self.committed is None else max(self.committed, self.start)
        return max(0, self.end - done)


class GroupOffsets:
    """Reads the offsets of one group on some topics, over connections that are kept.

    A consumer reads the committed offsets, because an admin client crashes (null pointer in librdkafka) if the broker
    it asks is not the group's coordinator (ops/decisions/0002).
    Raises BrokerError if no broker answers, TopicsError if a topic is missing.
    """

    def __init__(self, kafka: KafkaSettings, group: str, topics: Sequence[str]) -> None:
        self._admin = clients.admin(kafka)
        self._reader = clients.reader(kafka, group_id=group, isolation_level="read_uncommitted")
        self._group = group
        self._bootstrap = kafka.bootstrap
        self._sources = partitions(self._admin, topics, kafka.bootstrap)

    def now(self) -> tuple[PartitionLag, ...]:
        """Return the offsets of each partition, in the order of the topics. Raises BrokerError.

        Committed offsets are read before end offsets, so a lag is never too small.
        """
        try:
            committed = self._committed()
            owners = _owners(self._admin, self._group)
        except KafkaException as error:
            why = error.args[0].str()
            raise BrokerError(f"{self._bootstrap} does not describe group {self._group!r}: {why}") from None
        starts = offsets(self._admin, self._sources, "earliest")
        ends = offsets(self._admin, self._sources, "latest")
        return tuple(
            PartitionLag(source, starts[source], ends[source], committed.get(source), owners.get(source))
            for source in self._sources
        )

    def _committed(self) -> dict[TopicPartition, int]:
        found = self._reader.committed([KafkaTopicPartition(*source) for source in self._sources], _ANSWER_SECONDS)
        return {
            TopicPartition(tp.topic, tp.partition): tp.offset for tp in found if tp.error is None and tp.offset >= 0
        }


def _owners(admin: AdminClient, group: str) -> dict[TopicPartition, str]:
    answer = admin.describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS)[group]
    try:
        members = answer.result().members
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    return {
        TopicPartition(tp.topic, tp.partition): member.client_id
        for member in members
        for tp in (member.assignment.topic_partitions if member.assignment else ())
    }
