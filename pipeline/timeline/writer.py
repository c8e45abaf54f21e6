"""Writes events to the timeline of a pipeline, from any thread and without blocking the caller."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.clock import Clock
from pipeline.declaration import Pipeline
from pipeline.kafka.best_effort_producer import BestEffortProducer, Outcome
from pipeline.settings import KafkaSettings
from pipeline.timeline.events import EventKind, TimelineEvent


class TimelineWriter:
    """Writes the events of ``who``. ``ended`` is called with the outcome of each: written or lost."""

    def __init__(
        self,
        kafka: KafkaSettings,
        pipeline: Pipeline,
        *,
        who: str,
        clock: Clock,
        ended: Callable[[Outcome], None],
    ) -> None:
        self._topic = pipeline.timeline
        self._who = who
        self._clock = clock
        self._producer = BestEffortProducer(kafka, client_id=f"{who}-timeline", ended=ended)

    def write(self, kind: EventKind, what: str, details: Mapping[str, Any], at_ms: int | None = None) -> None:
        """Write an event of now or of ``at_ms`` (milliseconds since the epoch). Returns at once."""
        at = round(self._clock.now() * 1000) if at_ms is None else at_ms
        self._producer.send(self._topic, TimelineEvent(at, kind, self._who, what, details).encode(), at)

    def close(self) -> None:
        """Wait a few seconds until the queued events are written."""
        self._producer.close()
