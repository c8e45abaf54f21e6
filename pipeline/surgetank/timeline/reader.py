"""Reads the timeline of a pipeline: past events, and new events as they arrive."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from surgetank.declaration import Pipeline
from surgetank.kafka.columnar.plain import PlainConsumer
from surgetank.kafka.topic_reader import TopicReader
from surgetank.records import RecordBatch
from surgetank.settings import KafkaSettings
from surgetank.timeline.events import TimelineEvent, decode, sort_by_time

VALUES_MAX = 10_000
CLOCKS_MS = 60 * 60 * 1000  # by how much the clock of a writer may be ahead of that of the brokers


class TimelineReader:
    """Reads events from ``since_ms`` (milliseconds since the epoch) on. ``unreadable`` counts records without an event.

    A record that was written twice by a retry is read once.
    """

    def __init__(self, reader: TopicReader, since_ms: int) -> None:
        self._reader = reader
        self._since_ms = since_ms
        self.unreadable = 0
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def history(self) -> list[TimelineEvent]:
        """Return the events in the topic, in order of time."""
        return sort_by_time(event for records in self._reader.catch_up() for event in self._events(records))

    def next(self, timeout: float) -> list[TimelineEvent]:
        """Return the events that arrive within ``timeout`` seconds, in topic order."""
        return list(self._events(self._reader.read(timeout=timeout)))

    def _events(self, records: RecordBatch) -> Iterator[TimelineEvent]:
        for value in records.values.to_pylist():
            if value in self._seen:
                continue
            try:
                event = decode(value)
            except ValueError:
                self.unreadable += 1
                continue
            self._seen[value or b""] = None
            if len(self._seen) > VALUES_MAX:
                self._seen.popitem(last=False)
            if event.at >= self._since_ms:
                yield event


@contextmanager
def open_timeline(kafka: KafkaSettings, pipeline: Pipeline, since_ms: int) -> Iterator[TimelineReader]:
    """Open the timeline at a time. Raises BrokerError, or TopicsError if the timeline topic is missing.

    Brokers search by the time at which a record was appended, which is that of its event only if the writer's clock is
    right: the search begins ``CLOCKS_MS`` earlier.
    """
    # Few records: loading the compiled loops would take longer.
    with TopicReader(kafka, [pipeline.timeline], start=max(0, since_ms - CLOCKS_MS), consumer=PlainConsumer) as reader:
        yield TimelineReader(reader, since_ms)


def read_history(kafka: KafkaSettings, pipeline: Pipeline, since_ms: int, until_ms: int) -> list[TimelineEvent]:
    """Return the events between two times, in order of time. Raises the errors of ``open_timeline``."""
    with open_timeline(kafka, pipeline, since_ms) as reader:
        return [event for event in reader.history() if event.at <= until_ms]
