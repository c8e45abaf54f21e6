"""The mark of an upkeep that is under way: a topic, beside which no worker starts, and in it what was begun."""

import json
from typing import Any

from pipeline.declaration import Pipeline
from pipeline.errors import TopicsError
from pipeline.kafka import provisioning
from pipeline.kafka.topic_reader import TopicReader
from pipeline.kafka.topic_rewriter import TopicRewriter
from pipeline.settings import KafkaSettings

_KEY = b"begun"


class MigrationLock:
    """The topic ``<pipeline>.upkeep``. Raises TopicsError or BrokerError where it cannot be made, read or deleted."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline) -> None:
        self._kafka = kafka
        self._pipeline = pipeline

    def begun(self, command: str) -> dict[str, Any] | None:
        """Return what was begun by ``command`` and not finished, None for nothing.

        Raises TopicsError if it was another command: that must be finished first.
        """
        topic = self._pipeline.upkeep
        if topic not in provisioning.existing(self._kafka):
            return None
        last: bytes | None = None
        with TopicReader(self._kafka, [topic]) as reader:
            for records in reader.catch_up():
                last = records.values[-1]
        if last is None:  # cut short before anything was begun
            return None
        found: dict[str, Any] = json.loads(last)
        if found["command"] != command:
            raise TopicsError(
                f"`surgetank state {found['command']} {self._pipeline.name}` was begun and not finished; run it again "
                "before"
            )
        return found

    def set(self, rewriter: TopicRewriter, command: str, **what: Any) -> None:
        """Keep workers from starting, and note what is begun.

        Raises TopicsError if workers run; then the mark is as it was.
        """
        fresh = self._pipeline.upkeep not in provisioning.existing(self._kafka)
        provisioning.make(self._kafka, self._pipeline.upkeep, {"cleanup.policy": "compact"})
        try:
            with rewriter.transaction():
                rewriter.put(self._pipeline.upkeep, 0, _KEY, json.dumps({"command": command} | what).encode())
        except TopicsError:
            if fresh:
                self.remove()
            raise

    def remove(self) -> None:
        """Let workers start."""
        provisioning.delete(self._kafka, [self._pipeline.upkeep])
