"""Lag in seconds against the truth, on a real Kafka: of groups of any application, and of a worker's own partitions."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from surgetank.clock import SystemClock
from surgetank.drills.fleet import Member
from surgetank.kafka import clients
from surgetank.kafka.offset_collector import OffsetQuery
from surgetank.kafka.topic_reader import TopicReader
from surgetank.lag.group_monitor import GroupMonitor, GroupSnapshot
from surgetank.lag.group_offsets import GroupOffsets
from surgetank.lag.offset_collector_process import OffsetCollectorProcess
from surgetank.lag.rules import LagStatus
from surgetank.lag.seconds import LagMethod
from surgetank.records import TopicPartition
from tests.support import misbehaving_models
from tests.support.consumer_group import Group, Sender, times, until
from tests.support.event_bytes import far_away, send
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]
Traffic = Callable[[Sender, int], None]

TRUTH_SECONDS = 0.5
TRUTH_SHARE = 0.10
BEHIND_SECONDS = 4.0  # the group commits what is so old
TURNS = 60
TURN_SECONDS = 0.15


def steady(sender: Sender, turn: int) -> None:
    """Twenty records with every turn."""
    sender.send(20)


def bursty(sender: Sender, turn: int) -> None:
    """Nothing for two seconds, then two thousand at once."""
    if turn % 13 == 0:
        sender.send(2000)


def stopped(sender: Sender, turn: int) -> None:
    """Some, and then nothing more."""
    if turn < 5:
        sender.send(100)


@pytest.fixture
def group(kafka: KafkaUnderTest) -> Iterator[Group]:
    """Return a group of some application."""
    made = Group(kafka.settings, f"application-{uuid.uuid4().hex[:8]}")
    yield made
    made.close()


@pytest.fixture
def monitor(kafka: KafkaUnderTest) -> Iterator[Callable[..., GroupMonitor]]:
    """Return a function that watches a group, reading so many of its oldest records at a look."""
    with contextlib.ExitStack() as leaving:

        def make(group: Group, clock: SystemClock, heads_max: int = 100) -> GroupMonitor:
            asking = leaving.enter_context(OffsetCollectorProcess(kafka.settings))
            return GroupMonitor(
                OffsetQuery(group=group.name, heads_max=heads_max), lambda about: asking.ask(about, 30.0), clock
            )

        yield make


@pytest.mark.parametrize("traffic", [steady, bursty, stopped])
def test_lag_in_seconds_is_the_age_of_the_oldest_record_that_is_not_done(
    kafka: KafkaUnderTest,
    topic: Callable[..., str],
    group: Group,
    monitor: Callable[..., GroupMonitor],
    traffic: Traffic,
) -> None:
    """Of a group that trails by some seconds: within a tenth or half a second at every look.

    Without reading the records, it is as near as that, or as the distance of the snapshots.
    """
    source = TopicPartition(topic(), 0)
    sender, clock, pause = Sender(kafka.settings, source), SystemClock(), threading.Event()
    group.commit({source: 0})
    ways = [monitor(group, clock, heads) for heads in (100, 0)]
    snapshots: list[tuple[GroupSnapshot, GroupSnapshot]] = []
    sent: list[tuple[float, int]] = [(clock.now(), 0)]
    for turn in range(TURNS):
        traffic(sender, turn)
        exact, estimated = (way.poll() for way in ways)
        snapshots.append((exact, estimated))
        (partition,) = exact.partitions
        sent.append((exact.at, partition.offsets.end))
        if traffic is not stopped:
            old = [end for at, end in sent if at < exact.at - BEHIND_SECONDS]
            group.commit({source: old[-1] if old else 0})
        pause.wait(TURN_SECONDS)

    truth = times(kafka.settings, source.topic)
    distance = max(later[1].at - sooner[1].at for sooner, later in pairwise(snapshots))
    oldest = 0.0
    for exact, estimated in snapshots:
        for snapshot, allowed in ((exact, 0.0), (estimated, distance)):
            (partition,) = snapshot.partitions
            committed, found = partition.offsets.committed, partition.seconds
            assert committed is not None
            if partition.lag == 0:
                assert found == (0.0, LagMethod.NO_LAG)
                continue
            age = snapshot.at - truth[source, committed]
            if found is None or found.how is LagMethod.EXTRAPOLATED:
                # It was there before the first look: without reading it, nobody can know, and the guess is called one.
                assert snapshot is estimated
                continue
            assert abs(found.seconds - age) <= max(TRUTH_SECONDS, TRUTH_SHARE * age, allowed), (traffic, snapshot)
            oldest = max(oldest, age)
        if exact.lag:
            (partition,) = exact.partitions
            assert partition.seconds is not None
            assert partition.seconds.how is LagMethod.RECORD
    assert oldest > BEHIND_SECONDS


@pytest.mark.kafka_versions
def test_markers_behind_the_last_record_are_no_lag(
    kafka: KafkaUnderTest, topic: Callable[..., str], group: Group, monitor: Callable[..., GroupMonitor]
) -> None:
    """A group that did the last record of a transaction has done everything, although the log ends behind a marker."""
    source = TopicPartition(topic(), 0)
    producer = clients.transactional(kafka.settings, transactional_id=group.name)
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(10):
        producer.produce(source.topic, b"record", partition=0)
    producer.commit_transaction(30)
    group.commit({source: 10})

    (found,) = monitor(group, SystemClock()).poll().partitions

    assert (found.offsets.committed, found.offsets.end) == (10, 11)
    assert found.lag == 0
    assert found.seconds == (0.0, LagMethod.NO_LAG)


@pytest.mark.kafka_versions
def test_the_command_tells_of_any_group(kafka: KafkaUnderTest, topic: Callable[..., str], group: Group) -> None:
    """Without a pipeline, by the name of the group alone; --watch gives snapshots with rates."""
    source = TopicPartition(topic(), 0)
    Sender(kafka.settings, source).send(50)
    group.commit({source: 20})
    command = [sys.executable, "-m", "surgetank.cli", "lag", "--group", group.name, "--bootstrap", kafka.bootstrap]

    once = json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True, timeout=60).stdout)

    assert (once["group"], once["lag"], once["members"], once["status"]) == (group.name, 30, False, None)
    (partition,) = once["partitions"]
    assert (partition["topic"], partition["end"], partition["committed"]) == (source.topic, 50, 20)
    assert partition["lag_seconds_how"] == "record"
    assert partition["drain_seconds"] is None
    table = subprocess.run(command, capture_output=True, check=True, timeout=60, env=os.environ | {"COLUMNS": "200"})
    assert "nobody" in table.stdout.decode()

    with subprocess.Popen([*command, "--json", "--watch"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        snapshots = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.terminate()
    assert [look["lag"] for look in snapshots] == [30, 30, 30]
    assert snapshots[2]["partitions"][0]["grows"] is True  # it is not worked off at all
    assert snapshots[2]["partitions"][0]["lag_seconds"] > snapshots[0]["partitions"][0]["lag_seconds"]


def test_whose_lag_must_be_said() -> None:
    """Neither a pipeline nor a group: one clear line, exit status 2."""
    told = subprocess.run([sys.executable, "-m", "surgetank.cli", "lag"], capture_output=True, timeout=60, check=False)
    assert told.returncode == 2
    assert told.stderr.decode().startswith("surgetank: name a pipeline")


def scraped(worker: Member, name: str) -> dict[int, float]:
    """Return a metric of a worker by partition."""
    page = worker.ask("/metrics", timeout=5) or ""
    families = {family.name: family for family in text_string_to_metric_families(page)}
    return {int(each.labels["partition"]): each.value for each in families[f"surgetank_{name}"].samples}


def test_a_worker_that_works_off_a_flood_tells_the_truth_at_every_scrape(stage: StageFactory) -> None:
    """The oldest record at the moment of the scrape lies between those before and after it, in every partition."""
    under = stage(**{"worker.batch_rows_max": 256, "worker.commit_interval_seconds": 0.5})
    worker = under.worker()
    offsets = GroupOffsets(under.kafka, under.pipeline.group, [under.pipeline.events.topic])
    under.send(150_000)

    scrapes = []
    while True:
        before, started = offsets.now(), under.clock.now()
        seconds = scraped(worker, "lag_seconds")
        ended, after = under.clock.now(), offsets.now()
        scrapes.append((before, started, seconds, ended, after))
        if not sum(each.lag for each in after):
            break

    truth = times(under.kafka, under.pipeline.events.topic)
    checked = 0
    for before, started, seconds, ended, after in scrapes:
        for sooner, later in zip(before, after, strict=True):
            told = seconds.get(sooner.source.partition)
            if told is None or sooner.committed is None or later.committed is None:
                continue
            oldest = ended - truth.get((sooner.source, sooner.committed), ended)
            youngest = started - truth.get((later.source, later.committed), started)
            slack = max(TRUTH_SECONDS, TRUTH_SHARE * youngest)
            assert youngest - slack <= told <= oldest + slack, (sooner, later, told)
            checked += told > TRUTH_SECONDS
    assert checked, "it was never behind"


def test_a_worker_whose_model_hangs_grows_older_and_stalls(stage: StageFactory, tmp_path: Path) -> None:
    """Lag in seconds keeps growing while nothing is scored, as the oldest record does; then the status is STALL."""
    models = tmp_path / "models"
    misbehaving_models.publish(models, "1", misbehaving_models.hangs_beyond(50_000.0))
    under = stage(
        **{"model.directory": models, "model.call_deadline_seconds": 100, "worker.stuck_deadline_seconds": 200}
    )
    worker = under.worker()
    partitions = range(under.pipeline.events.partitions)
    send(under, [far_away(row) for row in partitions])
    with TopicReader(under.kafka, [under.pipeline.events.topic]) as reader:
        truth = {
            partition: at / 1000
            for records in reader.catch_up()
            for partition, at in zip(records.partitions.tolist(), records.arrived_ms.tolist(), strict=True)
        }
    ages = []

    def stalled() -> bool:
        started = under.clock.now()
        seconds = scraped(worker, "lag_seconds")
        ended = under.clock.now()
        for partition, told in seconds.items():
            oldest, youngest = ended - truth[partition], started - truth[partition]
            assert youngest - max(TRUTH_SECONDS, TRUTH_SHARE * youngest) <= told
            assert told <= oldest + max(TRUTH_SECONDS, TRUTH_SHARE * youngest)
        ages.append(min(seconds.values(), default=0.0))
        return set(scraped(worker, "lag_status").values()) == {LagStatus.STALL}

    until(stalled, 90, "a status of STALL")

    assert max(ages) > 25
    assert set(scraped(worker, "lag_seconds_how").values()) == {LagMethod.RECORD}
    assert set(scraped(worker, "drain_seconds").values()) == {float("inf")}
    under.fleet.kill(worker)
