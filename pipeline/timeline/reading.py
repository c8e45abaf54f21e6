"""Reads the timeline of a pipeline: what happened since a time, and what happens from now on."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.declaration import Pipeline
from pipeline.kafka.topic_reader import TopicReader
from pipeline.records import RecordBatch
from pipeline.settings import KafkaSettings
from pipeline.timeline.events import TimelineEvent, decoded, in_order

REMEMBERED = 10_000


class TimelineReader:
    """Events from ``since_ms`` (milliseconds since the epoch) on. ``unreadable`` counts records that are no events.

    What was written twice, since nobody knew whether the first time it was, is read once.
    """

    def __init__(self, reader: TopicReader, since_ms: int) -> None:
        self._reader = reader
        self._since_ms = since_ms
        self.unreadable = 0
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def history(self) -> list[TimelineEvent]:
        """Return what is there by now, by time."""
        return in_order(event for records in self._reader.catch_up() for event in self._events(records))

    def next(self, timeout: float) -> list[TimelineEvent]:
        """Return what comes within ``timeout`` seconds, as it comes."""
        return list(self._events(self._reader.read(timeout=timeout)))

    def _events(self, records: RecordBatch) -> Iterator[TimelineEvent]:
        for value in records.values:
            if value in self._seen:
                continue
            try:
                event = decoded(value)
            except ValueError:
                self.unreadable += 1
                continue
            self._seen[value or b""] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            if event.at >= self._since_ms:
                yield event


@contextmanager
def reading(kafka: KafkaSettings, pipeline: Pipeline, since_ms: int) -> Iterator[TimelineReader]:
    """Read the timeline from a time on. Raises BrokerError, or TopicsError if there is no timeline."""
    with TopicReader(kafka, [pipeline.timeline], start=max(0, since_ms)) as reader:
        yield TimelineReader(reader, since_ms)


def history(kafka: KafkaSettings, pipeline: Pipeline, since_ms: int, until_ms: int) -> list[TimelineEvent]:
    """Return the events of a span of time, by time. Raises as ``reading`` does."""
    with reading(kafka, pipeline, since_ms) as reader:
        return [event for event in reader.history() if event.at <= until_ms]
