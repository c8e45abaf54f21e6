"""Writes to the timeline of a pipeline: told from anywhere, at once, and never in the way of what it tells of."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.clock import Clock
from pipeline.declaration import Pipeline
from pipeline.kafka.best_effort_producer import BestEffortProducer, Outcome
from pipeline.settings import KafkaSettings
from pipeline.timeline.events import EventKind, TimelineEvent


class TimelineWriter:
    """The events that ``who`` tells. ``ended`` is called with the outcome of each: written or lost."""

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
        self._sender = BestEffortProducer(kafka, client_id=f"{who}-timeline", ended=ended)

    def tell(self, kind: EventKind, what: str, details: Mapping[str, Any], at_ms: int | None = None) -> None:
        """Tell that something happened, now or at a time in milliseconds since the epoch. Returns at once."""
        at = round(self._clock.now() * 1000) if at_ms is None else at_ms
        self._sender.send(self._topic, TimelineEvent(at, kind, self._who, what, details).encoded(), at)

    def close(self) -> None:
        """Write what waits, if the brokers take it within a few seconds."""
        self._sender.close()
