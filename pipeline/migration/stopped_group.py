"""A pipeline whose workers are stopped: what they committed, where its topics end, and that none of them comes back."""

from collections.abc import Sequence

from confluent_kafka import KafkaException

from pipeline.declaration import Pipeline
from pipeline.errors import BrokerError
from pipeline.kafka import clients, provisioning
from pipeline.kafka.topic_reader import offsets
from pipeline.records import TopicPartition
from pipeline.runtime.fencing import GroupClient
from pipeline.settings import KafkaSettings

CALL_SECONDS = 10.0
STABLE_SECONDS = 60.0  # an open transaction is ended by the brokers long before


class StoppedGroup:
    """Asks brokers of a pipeline that stands still. Raises BrokerError where they do not answer."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._ground = GroupClient(kafka, pipeline.group)

    def check(self) -> None:
        """Raise TopicsError if a worker is in the group."""
        provisioning.stopped(self._kafka, self._pipeline)

    def fence(self) -> None:
        """End what workers left open, and refuse them from now on if they still live somewhere."""
        pipeline, there = self._pipeline, provisioning.existing(self._kafka)
        outputs = pipeline.outputs(recording=True)
        try:
            owners = self._ground.owners(self.sources(there), CALL_SECONDS)
            for owner in sorted({owner for owner in owners.values() if owner is not None}):
                mine = {source.partition for source, its in owners.items() if its == owner}
                written = {(topic, number) for topic in outputs for number in mine if number < there.get(topic, 0)}
                self._ground.fence(owner, written, CALL_SECONDS)
        except KafkaException as error:
            raise _unknown(error) from None

    def committed(self) -> dict[TopicPartition, int]:
        """Return what is committed of each source, negative for nothing. Waits for what is not yet decided."""
        sources = self.sources(provisioning.existing(self._kafka))
        for _ in range(round(STABLE_SECONDS / CALL_SECONDS)):
            try:
                found = self._ground.committed(sources, CALL_SECONDS)  # asks again and again for so long
            except KafkaException as error:
                raise _unknown(error) from None
            if found is not None:
                return found
        raise BrokerError(f"offsets of group {self._pipeline.group} are pending for {STABLE_SECONDS:.0f} s")

    def bounds(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset and the last stable offset of each source."""
        admin = clients.admin(self._kafka)  # one that has not asked before knows of partitions that are new
        starts, ends = (offsets(admin, sources, which) for which in ("earliest", "latest"))
        return {source: (starts[source], ends[source]) for source in sources}

    def sources(self, there: dict[str, int]) -> list[TopicPartition]:
        """Return the partitions of the topics that tasks read, of those that are there, given the number of each."""
        return [
            TopicPartition(topic, number) for topic in self._pipeline.sources for number in range(there.get(topic, 0))
        ]


def _unknown(error: KafkaException) -> BrokerError:
    return BrokerError(f"the brokers do not tell where the pipeline stands: {error.args[0].str()}; try again")
