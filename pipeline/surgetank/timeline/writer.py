"""Writes events to the timeline of a pipeline, from any thread and without blocking the caller."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from surgetank.clock import Clock
from surgetank.declaration import Pipeline
from surgetank.kafka.best_effort_producer import BestEffortProducer, Outcome
from surgetank.settings import KafkaSettings
from surgetank.timeline.events import EventKind, TimelineEvent


class TimelineWriter:
    """Writes the events of ``who``. ``ended`` is called with the outcome of each: written or lost.

    ``appended`` is called with the monotonic time at which an event was sent, and the time at which a broker appended
    it, in milliseconds since the epoch, if the topic has ``message.timestamp.type=LogAppendTime``.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        pipeline: Pipeline,
        *,
        who: str,
        clock: Clock,
        ended: Callable[[Outcome], None],
        appended: Callable[[float, int], None] = lambda _, __: None,
    ) -> None:
        self._topic = pipeline.timeline
        self._who = who
        self._clock = clock
        self._appended = appended
        self._producer = BestEffortProducer(kafka, client_id=f"{who}-timeline", ended=ended)

    def write(self, kind: EventKind, what: str, details: Mapping[str, Any], at_ms: int | None = None) -> None:
        """Write an event of now or of ``at_ms`` (milliseconds since the epoch). Returns at once."""
        at = round(self._clock.now() * 1000) if at_ms is None else at_ms
        value = TimelineEvent(at, kind, self._who, what, details).encode()
        self._producer.send(self._topic, value, at, partial(self._appended, self._clock.monotonic()))

    def close(self) -> None:
        """Wait a few seconds until the queued events are written."""
        self._producer.close()
