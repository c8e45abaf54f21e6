"""Makes the reporter of a worker to the timeline, and reports an error of its setup."""

from collections.abc import Iterator
from contextlib import contextmanager

from surgetank.clock import Clock
from surgetank.declaration import Pipeline
from surgetank.errors import BrokerError, StartupError, TopicsError
from surgetank.runtime.event_clock import EventClock
from surgetank.settings import Settings
from surgetank.telemetry.metrics import Metrics
from surgetank.timeline.timeline_reporter import TimelineReporter
from surgetank.timeline.writer import TimelineWriter


def timeline_reporter(
    pipeline: Pipeline, settings: Settings, identity: str, clock: Clock, event_clock: EventClock, metrics: Metrics
) -> TimelineReporter:
    """Return what reports the events of a worker with this identity to the timeline."""
    writer = TimelineWriter(
        settings.kafka,
        pipeline,
        who=identity,
        clock=clock,
        ended=lambda outcome: metrics.timeline_events.add(1, outcome=outcome),
        appended=event_clock.appended,
    )
    return TimelineReporter(writer, settings.kafka, pipeline)


@contextmanager
def reported_start(timeline: TimelineReporter) -> Iterator[None]:
    """Report the StartupError that the block raises, and close the timeline; raise it again."""
    try:
        yield
    except StartupError as error:
        if not isinstance(error, BrokerError | TopicsError):  # these prevent timeline events
            timeline.failed(error.exit_code, str(error))
            timeline.close()
        raise
