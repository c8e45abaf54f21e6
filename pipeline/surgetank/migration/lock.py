"""The lock of a state migration: a topic that keeps workers from starting and records the migration in progress."""

import json
from typing import Any

from surgetank.declaration import Pipeline
from surgetank.errors import TopicsError
from surgetank.kafka import provisioning
from surgetank.kafka.topic_reader import TopicReader
from surgetank.kafka.topic_rewriter import TopicRewriter
from surgetank.settings import KafkaSettings

_KEY = b"begun"


class MigrationLock:
    """The topic ``<pipeline>.upkeep``. Raises TopicsError or BrokerError if it cannot be created, read or deleted."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._kafka = kafka
        self._pipeline = pipeline

    def unfinished(self, command: str) -> dict[str, Any] | None:
        """Return the unfinished migration of ``command``, None if there is none.

        Raises TopicsError if another command is unfinished: it must be finished first.
        """
        topic = self._pipeline.migration_topic
        if topic not in provisioning.existing(self._kafka):
            return None
        last: bytes | None = None
        with TopicReader(self._kafka, [topic]) as reader:
            for records in reader.catch_up():
                last = records.values[-1].as_py()
        if last is None:  # interrupted before the migration was recorded
            return None
        found: dict[str, Any] = json.loads(last)
        if found["command"] != command:
            raise TopicsError(
                f"`surgetank state {found['command']} {self._pipeline.name}` was started and not finished; run it "
                "again first"
            )
        return found

    def set(self, rewriter: TopicRewriter, command: str, **what: Any) -> None:
        """Keep workers from starting, and record the migration.

        Raises TopicsError if workers run; then the lock is unchanged.
        """
        fresh = self._pipeline.migration_topic not in provisioning.existing(self._kafka)
        provisioning.make(self._kafka, self._pipeline.migration_topic, {"cleanup.policy": "compact"})
        try:
            with rewriter.transaction():
                rewriter.put(self._pipeline.migration_topic, 0, _KEY, json.dumps({"command": command} | what).encode())
        except TopicsError:
            if fresh:
                self.remove()
            raise

    def remove(self) -> None:
        """Delete the topic, so that workers can start."""
        provisioning.delete(self._kafka, [self._pipeline.migration_topic])
