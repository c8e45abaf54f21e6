"""Replay, the reader of scores, the audit and the lag on a real Kafka."""

import json
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import typer
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from surgetank import Events, Pipeline, Scores
from surgetank.clock import SystemClock
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import UNDECODABLE
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills import pacing
from surgetank.drills.audit import audit
from surgetank.drills.audit_comparison import AuditReport
from surgetank.drills.latency import Latencies
from surgetank.drills.recording import Recording
from surgetank.drills.replay import Replay, Sent
from surgetank.drills.wire import SCORE, decoder, encoder
from surgetank.errors import BrokerError, TopicsError
from surgetank.kafka import clients
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.processing import dead_letter
from surgetank.record_compression import RecordBytes
from surgetank.records import DeadLetter, RecordBatch, joined
from surgetank.settings import KafkaSettings
from tests.support.consumer_group import until
from topology.flights import flights
from topology.recordings.flights import recording as flights_recording

PARTITIONS = 4
RATE = 20_000.0
EVENTS = 4_000  # from the first of January on; some have no key

pytestmark = pytest.mark.cluster


@dataclass
class Ground:
    """The flights pipeline on topics of its own."""

    kafka: KafkaSettings
    pipeline: Pipeline
    recording: Recording

    def replay(self, count: int = EVENTS, only: str | None = "boarding", **options: Any) -> Sent:
        """Send the first events at once."""
        recording = self.recording if only is None else self.recording.only(only)
        return Replay(self.kafka, recording, pacing.at_rate(RATE), encoder(), count=count, **options).run()

    def read(self, topic: str) -> RecordBatch:
        """All committed records of a topic."""
        with TopicReader(self.kafka, [topic]) as reader:
            parts = list(reader.catch_up())
        return RecordBatch(
            sources=parts[0].sources,
            source=np.concatenate([part.source for part in parts]),
            offsets=np.concatenate([part.offsets for part in parts]),
            arrived_ms=np.concatenate([part.arrived_ms for part in parts]),
            keys=joined([part.keys for part in parts]),
            values=joined([part.values for part in parts]),
        )

    def events(self) -> list["Outcome"]:
        """The right score of every event that decodes, by partition and offset."""
        records = self.read(self.pipeline.events.topic)
        batch = decoder(self.pipeline.events.schema)(records)
        rows, ids = batch.rows.tolist(), batch.columns["event_id"].to_pylist()
        times = batch.columns["boarding_at"].to_pylist()
        partition = [records.sources[number].partition for number in records.source.tolist()]
        found = [
            Outcome(partition[row], int(records.offsets[row]), records.keys[row].as_py(), id_, at)
            for row, id_, at in zip(rows, ids, times, strict=True)
        ]
        return sorted(found, key=lambda outcome: (outcome.partition, outcome.offset))

    def score(self, outcomes: list["Outcome"], producer: Producer | None = None) -> None:
        """Write scores in that order, each into the partition that it names."""
        own = producer or clients.producer(self.kafka)
        for outcome, value in zip(outcomes, self._encoded(outcomes), strict=True):
            partition = outcome.partition if outcome.lies_in is None else outcome.lies_in
            own.produce(self.pipeline.scores.topic, value, outcome.key, partition=partition)
        own.flush()

    def bury(self) -> int:
        """Write a dead letter of each event that does not decode; return how many."""
        records = self.read(self.pipeline.events.topic)
        good = set(decoder(self.pipeline.events.schema)(records).rows.tolist())
        own = clients.producer(self.kafka)
        for row in sorted(set(range(len(records))) - good):
            dead = DeadLetter(row, UNDECODABLE, "by hand")
            key, value, headers = dead_letter.dead_letter_records(
                records, dead, pipeline=self.pipeline.name, now=0.0, bytes_max=RecordBytes(1_000_000, 0)
            )
            own.produce(self.pipeline.dead_letters, value, key, headers=headers)
        own.flush()
        return len(records) - len(good)

    def commit(self) -> None:
        """Commit the offsets of the group to the end of the events, as workers do that have processed all."""
        with TopicReader(self.kafka, [self.pipeline.events.topic]) as reader:
            ends = [KafkaTopicPartition(*source, offset) for source, offset in reader.ends().items()]
        admin = clients.admin(self.kafka)
        request = [ConsumerGroupTopicPartitions(self.pipeline.group, ends)]
        for future in admin.alter_consumer_group_offsets(request).values():
            future.result(30)

    def audit(self, **options: Any) -> AuditReport:
        """What the audit says."""
        return audit(self.kafka, self.pipeline, **options)

    def _encoded(self, outcomes: list["Outcome"]) -> list[bytes]:
        n = len(outcomes)
        times = pa.array([outcome.at for outcome in outcomes], pa.timestamp("ms", tz="UTC"))
        columns = {
            "event_id": pa.array([outcome.id for outcome in outcomes], pa.string()),
            "key": pa.array([outcome.key and outcome.key.decode() for outcome in outcomes], pa.string()),
            "score": pa.array(np.linspace(0, 1, n)),
            "pipeline": pa.array([self.pipeline.name] * n, pa.string()),
            "model": pa.array(["by-hand"] * n, pa.string()),
            "model_version": pa.array(["1"] * n, pa.string()),
            "event_time": times,
            "scored_at": times,
            "source_topic": pa.array([self.pipeline.events.topic] * n, pa.string()),
            "source_partition": pa.array([outcome.partition for outcome in outcomes], pa.int32()),
            "source_offset": pa.array([outcome.offset for outcome in outcomes], pa.int64()),
        }
        serializer = AvroSerializer(project_schemas(), SCORE)
        scores: list[bytes] = serializer.serialize(pa.RecordBatch.from_pydict(columns)).to_pylist()
        return scores


@dataclass(frozen=True)
class Outcome:
    """One score: the position, key, id and time of its event, and where it lies if not there."""

    partition: int
    offset: int
    key: bytes | None
    id: str
    at: Any
    lies_in: int | None = None


def led(admin: AdminClient, topics: Sequence[str]) -> bool:
    """Return whether every partition of the topics has a leader."""
    known = admin.list_topics(timeout=10).topics
    return all(
        topic in known
        and len(known[topic].partitions) == PARTITIONS
        and all(each.leader >= 0 for each in known[topic].partitions.values())
        for topic in topics
    )


@pytest.fixture
def ground(kafka: Any) -> Iterator[Ground]:
    """Topics of the test's own, deleted afterwards."""
    name = f"flights-{uuid.uuid4().hex[:8]}"
    moved = {events.topic: f"{name}.{events.schema}" for events in (flights.events, *flights.facts)}
    pipeline = replace(
        flights,
        name=name,
        events=replace(flights.events, topic=moved[flights.events.topic]),
        facts=tuple(replace(fact, topic=moved[fact.topic]) for fact in flights.facts),
        scores=Scores(f"{name}.scores"),
    )
    topics = [*moved.values(), pipeline.scores.topic, pipeline.dead_letters]
    admin = clients.admin(kafka.settings)
    for future in admin.create_topics([NewTopic(topic, PARTITIONS) for topic in topics]).values():
        future.result(30)
    until(lambda: led(admin, topics), 30, "every partition has a leader")
    yield Ground(kafka.settings, pipeline, flights_recording().to(moved))
    for future in admin.delete_topics(topics).values():
        future.exception(30)


def test_replay_sends_the_real_events_with_intended_times_and_keys(ground: Ground) -> None:
    """Every event arrives once, keys keep to their partition and order, timestamps are the intended ones."""
    sent = ground.replay()
    assert sent.complete
    assert (sent.sent, sent.acknowledged, sent.failed) == (EVENTS, EVENTS, 0)
    assert sent.by_topic == {ground.pipeline.events.topic: EVENTS}

    records = ground.read(ground.pipeline.events.topic)
    table = ground.recording.tables[0].slice(0, EVENTS).to_pylist()
    place = {row["event_id"]: number for number, row in enumerate(table)}
    batch = decoder("boarding")(records)
    decoded = batch.columns.to_pylist()
    assert {row["event_id"]: row for row in decoded} == {row["event_id"]: row for row in table}
    assert len(decoded) == EVENTS

    partition_of: dict[bytes, set[int]] = defaultdict(set)
    last: dict[bytes, int] = {}
    for i in np.lexsort((records.offsets, records.source)).tolist():
        row, key = decoded[i], records.keys[i].as_py()
        assert key == (row["tailnum"].encode() if row["tailnum"] else None)
        number = place[row["event_id"]]
        due_ms = (sent.first_at + number / RATE) * 1000
        assert abs(records.arrived_ms[i] - due_ms) <= 1
        if key is not None:
            partition_of[key].add(int(records.source[i]))
            assert last.get(key, -1) < number
            last[key] = number
    assert all(len(partitions) == 1 for partitions in partition_of.values())
    assert len(set.union(*partition_of.values())) == PARTITIONS


def test_replay_sends_both_kinds_of_events_to_their_topics(ground: Ground) -> None:
    """Without a choice of kind, boardings and departures are merged in the order of time."""
    sent = ground.replay(only=None)
    boarding, departures = ground.recording.topics
    expected = np.bincount(ground.recording.kind[:EVENTS]).tolist()
    assert sent.by_topic == {boarding: expected[0], departures: expected[1]}
    assert min(expected) > 1000
    assert len(ground.read(boarding)) == expected[0]
    assert len(ground.read(departures)) == expected[1]


def test_replay_says_what_kafka_refused(ground: Ground) -> None:
    """An event that Kafka does not take is counted and its reason is told; the rest arrives."""
    encode = encoder()

    def huge_third(events: Events, batch: pa.RecordBatch) -> list[bytes]:
        values = list(encode(events, batch))
        values[2] += np.random.default_rng(0).bytes(900_000)  # does not compress
        return values

    admin = clients.admin(ground.kafka)
    limit_size(admin, ground.pipeline.events.topic, 100_000)
    recording = ground.recording.only("boarding")
    sent = Replay(ground.kafka, recording, pacing.at_rate(100.0), huge_third, count=10).run()
    # What stood in one batch with it is refused with it.
    assert sent.failed >= 1
    assert (sent.sent, sent.acknowledged + sent.failed) == (10, 10)
    assert len(ground.read(ground.pipeline.events.topic)) == sent.acknowledged
    assert not sent.complete
    assert "size" in (sent.error or "").lower() or "large" in (sent.error or "").lower()


def limit_size(admin: Any, topic: str, size: int) -> None:
    """Let a topic take only records up to a size."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(30)


def test_replay_refuses_topics_that_are_not_there(ground: Ground) -> None:
    """A missing topic is an error before anything is sent, and it says what to do."""
    elsewhere = ground.recording.to({ground.pipeline.events.topic: "not.there"})
    with pytest.raises(TopicsError, match=r"'not\.there'.*surgetank topics apply"):
        Replay(ground.kafka, elsewhere, pacing.at_rate(1.0), encoder(), count=1).run()


def test_no_broker_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Kafka the reader says so, with the address."""
    monkeypatch.setattr("surgetank.kafka.topic_reader._ANSWER_SECONDS", 2.0)
    nowhere = KafkaSettings(bootstrap="127.0.0.1:9")
    with pytest.raises(BrokerError, match=r"no Kafka broker answers at 127\.0\.0\.1:9"):
        TopicReader(nowhere, ["any"])


def test_exactly_once_passes_the_audit(ground: Ground) -> None:
    """A score for each event, a dead letter for each that does not decode: the audit is clean."""
    ground.replay()
    poison = clients.producer(ground.kafka)
    for partition in range(PARTITIONS):
        poison.produce(ground.pipeline.events.topic, b"\x00no event", b"key", partition=partition)
    poison.produce(ground.pipeline.events.topic, None, b"key", partition=0)
    poison.flush()
    ground.score(ground.events())
    assert ground.bury() == 5
    report = ground.audit()
    assert report.ok
    assert (report.events, report.scores, report.dead_letters) == (EVENTS + 5, EVENTS, 5)
    assert (report.undecodable, report.examples) == (5, {})


def damage_lost(events: list[Outcome]) -> list[Outcome]:
    """Leave out seven scores."""
    return [event for number, event in enumerate(events) if number % 500 != 250 or number >= 3500]


def damage_doubled(events: list[Outcome]) -> list[Outcome]:
    """Write nine scores a second time."""
    return events + events[100:1000:100]


def damage_order(events: list[Outcome]) -> list[Outcome]:
    """Exchange the first two scores of three keys."""
    damaged = list(events)
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, event in enumerate(events):
        if event.key is not None:
            rows[event.key].append(row)
    for one, other, *_ in [found for found in rows.values() if len(found) == 2][:3]:
        damaged[one], damaged[other] = damaged[other], damaged[one]
    return damaged


def damage_made_up(events: list[Outcome]) -> list[Outcome]:
    """Add scores of two positions that nobody sent."""
    return [*events, *(replace(events[5], offset=offset) for offset in (10**9, 10**9 + 1))]


def damage_wrong_id(events: list[Outcome]) -> list[Outcome]:
    """Give two scores the id of another event."""
    return [replace(event, id=events[0].id) if row in {7, 8} else event for row, event in enumerate(events)]


def damage_misplaced(events: list[Outcome]) -> list[Outcome]:
    """Write one score into another partition than that of its event."""
    return [replace(events[0], lies_in=(events[0].partition + 1) % PARTITIONS), *events[1:]]


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (damage_lost, {"lost": 7}),
        (damage_doubled, {"duplicates": 9}),
        (damage_order, {"out_of_order": 3}),
        (damage_made_up, {"unexpected": 2}),
        (damage_wrong_id, {"unexpected": 2, "lost": 2}),
        (damage_misplaced, {"unexpected": 1, "lost": 1}),
    ],
)
def test_each_fault_is_found_and_counted_exactly(
    ground: Ground, damage: Callable[[list[Outcome]], list[Outcome]], found: dict[str, int]
) -> None:
    """What was injected is what is counted, and nothing else."""
    ground.replay()
    ground.score(damage(ground.events()))
    ground.commit()
    report = ground.audit()
    expected = {"lost": 0, "duplicates": 0, "unexpected": 0, "out_of_order": 0} | found
    assert {name: report.as_dict()[name] for name in expected} == expected
    assert not report.ok
    assert set(report.examples) == set(found)


def test_an_aborted_transaction_counts_for_nothing(ground: Ground) -> None:
    """Scores that were aborted do not exist: neither as duplicates nor in place of lost ones."""
    ground.replay(count=200)
    events = ground.events()
    producer = Producer(clients.common(ground.kafka, transactional_id=ground.pipeline.name))
    producer.init_transactions(30)
    producer.begin_transaction()
    ground.score(events[:150], producer)
    producer.abort_transaction(30)
    producer.begin_transaction()
    ground.score(events[:100], producer)
    producer.commit_transaction(30)
    ground.commit()
    report = ground.audit()
    assert (report.scores, report.lost, report.duplicates, report.unexpected) == (100, 100, 0, 0)


def test_the_audit_waits_for_what_is_on_its_way(ground: Ground) -> None:
    """With a wait, the audit goes on as long as outcomes come; here the last come while it waits."""
    ground.replay(count=300)
    events = ground.events()
    ground.score(events[:200])

    class ScoresMeanwhile:
        """A clock that, when the audit asks for the time again, has let the missing scores come."""

        def __init__(self) -> None:
            self.asked = 0

        def now(self) -> float:
            return 0.0

        def monotonic(self) -> float:
            self.asked += 1
            if self.asked == 2:
                ground.score(events[200:])
            return 0.0

    report = ground.audit(wait=1.0, clock=ScoresMeanwhile())
    assert report.ok
    assert report.scores == 300


def test_scores_are_read_in_columns_and_timed_against_their_events(ground: Ground) -> None:
    """The reader gives every committed score; joined by position, each has a latency."""
    ground.replay(count=1000)
    ground.score(ground.events())
    latencies = Latencies()
    ids: list[str] = []
    decode = decoder(SCORE)
    with TopicReader(ground.kafka, [ground.pipeline.scores.topic]) as reader:
        for records in reader.catch_up():
            batch, arrived_at = decode(records), SystemClock().now()
            assert len(batch) == len(records)
            columns = batch.columns
            ids += columns["event_id"].to_pylist()
            partitions, offsets = columns["source_partition"].to_numpy(), columns["source_offset"].to_numpy()
            latencies.scores(partitions.astype(np.int64), offsets, arrived_at)
    records = ground.read(ground.pipeline.events.topic)
    latencies.events(records.partitions, records.offsets, records.arrived_ms)
    assert len(ids) == len(set(ids)) == 1000
    found = latencies.percentiles()
    assert found.count == 1000
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms


def test_a_reader_from_now_on_sees_only_what_comes(ground: Ground) -> None:
    """Reading from the latest starts at the ends as they were when the reader was made."""
    ground.replay(count=50)
    events = ground.events()
    ground.score(events[:20])
    decode, seen = decoder(SCORE), []
    with TopicReader(ground.kafka, [ground.pipeline.scores.topic], start="latest") as reader:
        ground.score(events[20:])
        for records in reader.catch_up():
            seen += decode(records).columns["event_id"].to_pylist()
    assert sorted(seen) == sorted(event.id for event in events[20:])


def test_lag_is_what_is_there_and_not_committed(ground: Ground) -> None:
    """Per partition the end, the committed offset and their difference; never committed means all of it."""
    ground.replay(count=1000)
    topic, group = ground.pipeline.events.topic, ground.pipeline.group
    offsets = GroupOffsets(ground.kafka, group, [topic])
    before = offsets.now()
    assert [partition.committed for partition in before] == [None] * PARTITIONS
    assert sum(partition.lag for partition in before) == 1000
    options = {"group.id": group, "client.id": "worker-one", "auto.offset.reset": "earliest"}
    consumer = Consumer({**clients.common(ground.kafka), **options, "enable.auto.commit": False})
    consumer.subscribe([topic])
    while len(consumer.assignment()) < PARTITIONS:
        consumer.poll(0.1)
    consumer.commit(offsets=[KafkaTopicPartition(topic, 0, 10)], asynchronous=False)
    first, *rest = offsets.now()
    assert (first.committed, first.lag, first.owner) == (10, first.end - 10, "worker-one")
    assert all(partition.lag == partition.end for partition in rest)
    consumer.close()
    assert {partition.owner for partition in offsets.now()} == {None}


def test_the_lag_command_prints_what_scripts_read(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, one object with the sum and each partition."""
    from surgetank.cli import lag

    ground.replay(count=100)
    monkeypatch.setattr("surgetank.cli.pipeline_argument.resolve", lambda _: ground.pipeline)
    app = typer.Typer()
    app.command()(lag.lag)
    result = CliRunner().invoke(app, ["flights", "--json", "--bootstrap", ground.kafka.bootstrap])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["group"], told["lag"]) == (ground.pipeline.group, 100)
    assert [partition["partition"] for partition in told["partitions"]] == list(range(PARTITIONS))
