"""surgetank.worker.processed_offsets: how far events were processed, told from outputs; not known is not guessed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError

from surgetank import Above
from surgetank.declaration import Pipeline
from surgetank.errors import BrokerError, TopicsError
from surgetank.kafka import clients
from surgetank.processing.dead_letter import OFFSET, TOPIC
from surgetank.records import DecodedBatch, RecordBatch, TopicPartition
from surgetank.runtime.start_offsets import Processed
from surgetank.settings import Settings
from surgetank.worker import processed_offsets
from surgetank.worker.processed_offsets import ProcessedEvents
from tests.support.recorded_logs import Log, LogConsumer, Message, opening
from topology.flights import flights

EVENTS, SCORES, DEAD = flights.events.topic, flights.scores.topic, flights.dead_letters
SCHEMA = pa.schema([("source_topic", pa.string()), ("source_offset", pa.int64())])
ProcessedOf = Callable[[list[TopicPartition]], Mapping[TopicPartition, Processed]]
Make = Callable[..., ProcessedOf]


class NumberedScores:
    """Decodes scores whose value is the offset of their event."""

    schema = SCHEMA

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[()]]:
        """Return the position of each score's event."""
        offsets = [int(value) for value in records.values.to_pylist()]
        columns = pa.record_batch({"source_topic": [EVENTS] * len(offsets), "source_offset": offsets}, schema=SCHEMA)
        return DecodedBatch(records, np.arange(len(offsets)), columns), ()


def keys(source: TopicPartition, of: Sequence[str | None], *, low: int = 0, at_ms: int = 0) -> Log:
    """Return a partition with records of these keys."""
    records = [None if key is None else Message(source, low + n, key.encode(), at_ms=at_ms) for n, key in enumerate(of)]
    return Log(records, low=low)


def score(number: int, event: int, key: str, *, at_ms: int = 0) -> Log:
    """Return a partition of scores with one score, of the event at this offset."""
    return Log([Message(TopicPartition(SCORES, number), 0, key.encode(), str(event).encode(), at_ms=at_ms)])


def dead_letter(number: int, event: int, key: str) -> Log:
    """Return a partition of dead letters with one, of the event at this offset."""
    headers = ((TOPIC, EVENTS.encode()), (OFFSET, str(event).encode()))
    return Log([Message(TopicPartition(DEAD, number), 0, key.encode(), b"", headers)])


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return ProcessedEvents of partitions in memory; those that are not given are empty."""

    def made(
        logs: Mapping[TopicPartition, Log], unreachable: Sequence[TopicPartition] = (), pipeline: Pipeline = flights
    ) -> ProcessedOf:
        empty = {TopicPartition(topic, n): Log() for topic in (EVENTS, SCORES, DEAD) for n in range(4)}
        monkeypatch.setattr(clients, "reader", opening(LogConsumer({**empty, **logs}, unreachable)))
        events = ProcessedEvents(Settings().kafka, pipeline, NumberedScores())
        return lambda sources: events(sources, lambda: None)

    return made


def at(number: int) -> TopicPartition:
    """Return a partition of the events."""
    return TopicPartition(EVENTS, number)


def test_an_output_partition_has_no_leader_as_offsets_expired(make: Make) -> None:
    """The question is asked again; a warning alone would have all partitions scored again."""
    logs = {at(0): keys(at(0), "abc"), TopicPartition(SCORES, 0): score(0, 2, "c")}
    processed = make(logs, unreachable=[TopicPartition(DEAD, 1)])

    assert list(processed([at(0)])) == [at(0)]
    with pytest.raises(BrokerError):
        processed([at(0), at(1)])


def test_the_right_to_read_an_output_is_missing(make: Make) -> None:
    """It ends the worker with the topic and the right: asking again would not help. An empty output needs none."""
    scores = score(0, 2, "c")
    scores.error = KafkaError.TOPIC_AUTHORIZATION_FAILED
    processed = make({at(0): keys(at(0), "abc"), TopicPartition(SCORES, 0): scores})

    with pytest.raises(TopicsError, match=f"right Read of topic {SCORES} is missing"):
        processed([at(0)])
    assert not processed([at(1)])


def test_clocks_of_producers_and_brokers_are_no_evidence(make: Make) -> None:
    """An event whose producer is ahead of the worker is still the one that was scored."""
    logs = {at(0): keys(at(0), "abc", at_ms=9_000), TopicPartition(SCORES, 0): score(0, 2, "c", at_ms=1_000)}

    assert list(make(logs)([at(0)])) == [at(0)]


def test_another_event_at_the_offset_of_a_score_is_one_of_another_topic(make: Make) -> None:
    """A topic that was created again starts anew."""
    logs = {at(0): keys(at(0), "abx"), TopicPartition(SCORES, 0): score(0, 2, "c")}

    assert not make(logs)([at(0)])


def test_a_new_events_topic_has_a_marker_at_the_old_offset(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its transactional producer is no reason to refuse the first start; retention and compaction leave no marker."""
    scores = {TopicPartition(SCORES, 0): score(0, 2, "c")}
    monkeypatch.setattr(processed_offsets, "compacted", lambda *_: False)

    assert not make(scores | {at(0): keys(at(0), ["a", "b", None, "d"])})([at(0)])
    assert list(make(scores | {at(0): keys(at(0), ["d"], low=3)})([at(0)])) == [at(0)]
    monkeypatch.setattr(processed_offsets, "compacted", lambda *_: True)
    assert list(make(scores | {at(0): keys(at(0), ["a", "b", None, "d"])})([at(0)])) == [at(0)]


def test_retention_emptied_the_scores_and_left_a_dead_letter(make: Make) -> None:
    """Scores that are gone may have named later events; a topic that never had any has not."""
    logs = {at(0): keys(at(0), "abcdef"), TopicPartition(DEAD, 0): dead_letter(0, 2, "c")}

    assert make(logs)([at(0)]) == {at(0): Processed(3)}
    assert make(logs | {TopicPartition(SCORES, 0): Log(low=7)})([at(0)]) == {at(0): Processed(3, exact=False)}
    logs |= {TopicPartition(SCORES, 0): score(0, 2, "c"), TopicPartition(DEAD, 0): Log(low=7)}
    assert make(logs)([at(0)]) == {at(0): Processed(3, exact=False)}


def test_re_keyed_events_may_follow_the_last_that_is_named(make: Make) -> None:
    """No score names them, so the offset is a lower bound."""
    logs = {at(0): keys(at(0), "abc"), TopicPartition(SCORES, 0): score(0, 1, "b")}
    rekeying = replace(flights, events=replace(flights.events, differing_keys="rekey"))
    assert make(logs)([at(0)]) == {at(0): Processed(2)}
    assert make(logs, pipeline=rekeying)([at(0)]) == {at(0): Processed(2, exact=False)}


@pytest.mark.parametrize("condition", ["only", "score_only"])
def test_filtered_events_may_follow_the_last_that_is_named(make: Make, condition: str) -> None:
    """They were processed, and nothing says so."""
    logs = {at(0): keys(at(0), "abc"), TopicPartition(SCORES, 0): score(0, 1, "b")}
    holds = Above("distance_miles", 0)
    filtering = replace(flights, score_only=holds)
    if condition == "only":
        filtering = replace(flights, events=replace(flights.events, only=holds))
    assert make(logs, pipeline=filtering)([at(0)]) == {at(0): Processed(2, exact=False)}
