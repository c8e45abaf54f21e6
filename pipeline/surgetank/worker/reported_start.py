"""Reports an error of the setup of a worker to the timeline."""

from collections.abc import Iterator
from contextlib import contextmanager

from surgetank.errors import BrokerError, StartupError, TopicsError
from surgetank.timeline.timeline_reporter import TimelineReporter


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
