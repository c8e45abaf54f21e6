"""Events as bytes, for tests that corrupt them, and the results for each, read back from the topics."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.wire import encoder
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing import dead_letter
from surgetank.records import Headers, TopicPartition
from tests.support.live_pipeline import Stage, real_events


@dataclass(frozen=True, slots=True)
class Event:
    """A record to send."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Buried:
    """A dead letter as read from its topic, with the values of its headers."""

    partition: int
    event: Event
    cause: dead_letter.DeadLetterCause


def real(count: int) -> list[Event]:
    """Return the first real boarding events of the year, encoded."""
    return [
        Event(key, value)
        for chunk in real_events().chunks(encoder(), count=count)
        for key, value in zip(chunk.keys, chunk.values, strict=True)
    ]


def far_away(number: int) -> Event:
    """Return an event of a flight with twice the Earth's circumference as distance."""
    table = real_events().tables[0].slice(number, 1).combine_chunks()
    place = table.schema.get_field_index("distance")
    column = table.schema.field(place)
    around = table.set_column(place, column, pa.array([60_000], column.type)).to_batches()[0]
    (value,) = AvroSerializer(project_schemas(), "boarding").serialize(around).to_pylist()
    return Event(around["tailnum"].to_pylist()[0].encode(), value)


def send(under: Stage, events: list[Event]) -> dict[TopicPartition, list[Event]]:
    """Send events to the partitions in turn; return them by partition, by offset from 0. The topic must be new."""
    topic, partitions = under.pipeline.events.topic, under.pipeline.events.partitions
    producer = clients.producer(under.kafka, message_max_bytes=8_000_000, queue_buffering_max_messages=1_000_000)
    failed: list[object] = []
    lying: dict[TopicPartition, list[Event]] = {TopicPartition(topic, partition): [] for partition in range(partitions)}
    for row, event in enumerate(events):
        partition = row % partitions
        producer.produce(
            topic,
            event.value,
            event.key,
            partition,
            headers=list(event.headers),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        producer.poll(0)
        lying[TopicPartition(topic, partition)].append(event)
    assert producer.flush(60) == 0
    assert not failed
    return lying


def buried(under: Stage) -> Iterator[Buried]:
    """Read every committed dead letter."""
    with TopicReader(under.kafka, [under.pipeline.dead_letters]) as reader:
        for records in reader.catch_up():
            for row in range(len(records)):
                headers: Headers = records.headers_of(row)
                original = tuple((name, value) for name, value in headers[: -len(dead_letter.NAMES)])
                yield Buried(
                    records.sources[records.source[row]].partition,
                    Event(records.keys[row].as_py(), records.values[row].as_py(), original),
                    dead_letter.parse_dead_letter(headers),
                )
