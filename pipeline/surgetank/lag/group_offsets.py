"""The offsets of one group: committed and end offsets of each partition, and the owner of the partition."""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaException

from surgetank.kafka import clients
from surgetank.kafka.group_members import group_members, partition_owners
from surgetank.kafka.topic_reader import CommittedOffsets, offsets
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings

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
        self._group = group
        self._bootstrap = kafka.bootstrap
        self._offsets = CommittedOffsets(kafka, group, *topics)

    def now(self) -> tuple[PartitionLag, ...]:
        """Return the offsets of each partition, in the order of the topics. Raises BrokerError.

        Committed offsets are read before end offsets, so a lag is never too small.
        """
        try:
            committed = self._offsets.committed(_ANSWER_SECONDS)
            owners = partition_owners(group_members(self._admin, self._group, _ANSWER_SECONDS))
        except KafkaException as error:
            raise self._admin.failure(f"{self._bootstrap} does not describe group {self._group!r}", error) from None
        sources = self._offsets.sources
        starts, ends = (offsets(self._admin, sources, which) for which in ("earliest", "latest"))
        return tuple(
            PartitionLag(source, starts[source], ends[source], committed.get(source), owners.get(source))
            for source in sources
        )
