"""The consumer group of a pipeline whose workers are stopped: committed offsets, topic bounds, and fencing."""

from collections.abc import Sequence

from confluent_kafka import KafkaException

from surgetank.declaration import Pipeline
from surgetank.errors import BrokerError
from surgetank.kafka import clients, provisioning
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.topic_reader import offsets
from surgetank.records import TopicPartition
from surgetank.runtime.fencing import fence
from surgetank.runtime.written_partitions import WrittenPartitions, copies_of
from surgetank.settings import KafkaSettings

CALL_SECONDS = 10.0
STABLE_SECONDS = 60.0  # brokers abort an open transaction long before


class StoppedGroup:
    """Queries the brokers about a stopped pipeline. Raises BrokerError if they do not answer."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._client = GroupClient(kafka, pipeline.group)

    def check(self) -> None:
        """Raise TopicsError if the group has members."""
        provisioning.stopped(self._kafka, self._pipeline)

    def fence(self) -> None:
        """Abort open transactions of former workers, and fence workers that still run somewhere."""
        pipeline, existing = self._pipeline, provisioning.existing(self._kafka)
        written = WrittenPartitions(pipeline.outputs(recording=True), copies_of(pipeline, existing))
        try:
            owners = self._client.owners(self.sources(existing), CALL_SECONDS)
            for owner in sorted({owner for owner in owners.values() if owner is not None}):
                mine = {source.partition for source, its in owners.items() if its == owner}
                swept = {each for each in written.swept_for(mine) if each[1] < existing.get(each[0], 0)}
                fence(self._client, owner, swept, CALL_SECONDS, output=pipeline.scores.topic)
        except KafkaException as error:
            raise _broker_error(error) from None

    def committed(self) -> dict[TopicPartition, int]:
        """Return the committed offset of each source, negative for none. Waits for pending transactions."""
        sources = self.sources(provisioning.existing(self._kafka))
        for _ in range(round(STABLE_SECONDS / CALL_SECONDS)):
            try:
                found = self._client.committed(sources, CALL_SECONDS)  # retries for this long
            except KafkaException as error:
                raise _broker_error(error) from None
            if found is not None:
                return found
        raise BrokerError(f"offsets of group {self._pipeline.group} are pending for {STABLE_SECONDS:.0f} s")

    def shared_with(self, topics: Sequence[str], existing: dict[str, int]) -> dict[str, list[str]]:
        """Return which of these topics other pipelines read too, with the names of these pipelines.

        A pipeline has a topic of dead letters of its name, and its committed offsets name the worker that owns them.
        """
        suffix = self._pipeline.dead_letters.removeprefix(self._pipeline.name)
        others = {topic.removesuffix(suffix) for topic in existing if topic.endswith(suffix)} - {self._pipeline.name}
        found: dict[str, list[str]] = {}
        for other in sorted(others):
            client = GroupClient(self._kafka, other)
            for topic in topics:
                sources = [TopicPartition(topic, number) for number in range(existing[topic])]
                try:
                    owners = client.owners(sources, CALL_SECONDS)
                except KafkaException as error:
                    raise _broker_error(error) from None
                if any(owner is not None for owner in owners.values()):
                    found.setdefault(topic, []).append(other)
        return found

    def bounds(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset and the last stable offset of each source."""
        admin = clients.admin(self._kafka)  # a new client, because an old one may not know new partitions
        starts, ends = (offsets(admin, sources, which) for which in ("earliest", "latest"))
        return {source: (starts[source], ends[source]) for source in sources}

    def sources(self, existing: dict[str, int]) -> list[TopicPartition]:
        """Return the existing partitions of the source topics, given the number of partitions of each topic."""
        return [
            TopicPartition(topic, number)
            for topic in self._pipeline.sources
            for number in range(existing.get(topic, 0))
        ]


def _broker_error(error: KafkaException) -> BrokerError:
    return BrokerError(f"the brokers did not return offsets of the pipeline: {error.args[0].str()}; try again")
