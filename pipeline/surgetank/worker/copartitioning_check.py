"""Checks that the producers of the events and of the facts use the same partitioner, by samples of their keys.

At the start a mismatch is refused. Where the samples do not suffice, as for topics that are still empty, the check is
repeated while the worker runs; then a mismatch is an error in the log and in a metric.
"""

import logging
import threading

from surgetank.declaration import Events, Pipeline
from surgetank.errors import BrokerError, SurgetankError, TopicsError
from surgetank.kafka import provisioning
from surgetank.kafka.key_sample import newest_keys
from surgetank.migration.copartitioning import Comparison, Copartitioning, KeySample, compare
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

AGAIN_SECONDS = 60.0
PARTITIONS_MAX = 16  # per topic, evenly spread
ROWS = 100  # per partition

_ADVICE = (
    "facts of a key are then not in the partition of its events, and are not used for them: let the producers of both "
    "use the same partitioner (librdkafka: partitioner=murmur2_random is that of Java clients)"
)


class CopartitioningCheck:
    """Compares the keys of a pipeline's facts with those of its events."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline, metrics: Metrics) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._metrics = metrics

    def at_start(self) -> None:
        """Raise TopicsError for a mismatch. Repeat the check in a thread while the result for a topic is unknown.

        Topics that the brokers do not return are such topics: the check is no condition of the start.
        """
        for events in (self._pipeline.events, *self._pipeline.table_facts):
            if events.differing_keys == "rekey":
                self._check_partitioner(events)
        found = self._compare([facts.topic for facts in self._pipeline.table_facts])
        different = [each for each in found if each.result is Copartitioning.DIFFERENT]
        if different:
            raise TopicsError(f"{different[0].why}: {_ADVICE}")
        unknown = [each for each in found if each.result is Copartitioning.UNKNOWN]
        for each in unknown:
            log.warning("whether facts are in the partitions of their events is not known: %s", each.why)
        if unknown:
            topics = [each.topic for each in unknown]
            threading.Thread(target=self._repeat, args=(topics,), name="copartitioning", daemon=True).start()

    def _check_partitioner(self, events: Events) -> None:
        """Raise TopicsError if the keys of a topic lie by another partitioner than that of its re-keyed records."""
        try:
            used = self._sample(events.topic, provisioning.existing(self._kafka)).partitioner()
        except BrokerError as error:
            log.warning("whether %s is partitioned by %s is not known: %s", events.topic, events.partitioner, error)
            return
        if used not in (None, events.partitioner):
            raise TopicsError(
                f"the keys of {events.topic} are partitioned by {used}, but its events are declared with "
                f"partitioner={events.partitioner!r}: re-keyed records would not be in the partition of their key; "
                f"declare partitioner={used!r}"
            )

    def _repeat(self, topics: list[str]) -> None:
        pause = threading.Event()
        while topics and not pause.wait(AGAIN_SECONDS):
            try:
                topics = self.again(topics)
            except SurgetankError as error:
                log.debug("%s", error)

    def again(self, topics: list[str]) -> list[str]:
        """Compare these topics of facts once more; log a mismatch as an error; return those that are still unknown."""
        found = self._compare(topics)
        for each in found:
            if each.result is Copartitioning.DIFFERENT:
                log.error("%s: %s. The next start of a worker is refused", each.why, _ADVICE)
        return [each.topic for each in found if each.result is Copartitioning.UNKNOWN]

    def _compare(self, topics: list[str]) -> list[Comparison]:
        if not topics:
            return []
        try:
            existing = provisioning.existing(self._kafka)
        except BrokerError as error:
            return self._reported([_unknown(topic, error) for topic in topics])
        if missing := [topic for topic in (self._pipeline.events.topic, *topics) if topic not in existing]:
            raise TopicsError(f"topic {missing[0]!r} is missing")
        # Other checks refuse or allow another number of partitions.
        same = [topic for topic in topics if existing[topic] == existing[self._pipeline.events.topic]]
        try:
            events = self._sample(self._pipeline.events.topic, existing)
        except BrokerError as error:
            return self._reported([_unknown(topic, error) for topic in same])
        return self._reported([self._compared(events, topic, existing) for topic in same])

    def _compared(self, events: KeySample, topic: str, existing: dict[str, int]) -> Comparison:
        try:
            return compare(events, self._sample(topic, existing))
        except BrokerError as error:
            return _unknown(topic, error)

    def _reported(self, found: list[Comparison]) -> list[Comparison]:
        for each in found:
            self._metrics.copartitioning.set(each.result, topic=each.topic)
        return found

    def _sample(self, topic: str, existing: dict[str, int]) -> KeySample:
        partitions = existing[topic]
        step = -(-partitions // PARTITIONS_MAX)
        sources = [TopicPartition(topic, number) for number in range(0, partitions, step)]
        return KeySample.of(topic, partitions, newest_keys(self._kafka, sources, ROWS))


def _unknown(topic: str, error: BrokerError) -> Comparison:
    return Comparison(topic, Copartitioning.UNKNOWN, str(error))
