"""What metrics, `lag`, `audit` and the timeline say while events wait, cannot be read, or are gone."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition
from prometheus_client.parser import text_string_to_metric_families

from surgetank.drills.fleet import Member
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_reader import TopicReader
from surgetank.migration.stopped_group import StoppedGroup
from surgetank.timeline.events import EventKind
from surgetank.timeline.reader import read_history
from tests.support.live_pipeline import Stage, hanging_transaction
from tests.support.topologies.stateless_flights import ENVIRONMENT

StageFactory = Callable[..., Stage]

EVENTS = 400
MORE = 80


def surgetank(under: Stage, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command on the pipeline of a stage."""
    command, *options = arguments
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "surgetank.cli",
            command,
            under.topology,
            *options,
            "--bootstrap",
            under.kafka.bootstrap,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {ENVIRONMENT: under.prefix},
    )


def total(worker: Member, name: str) -> float | None:
    """Return the sum of a metric of a worker over its labels; None if it has no series."""
    page = worker.ask("/metrics", timeout=5) or ""
    families = {family.name: family for family in text_string_to_metric_families(page)}
    samples = families[f"surgetank_{name}"].samples
    return sum(each.value for each in samples) if samples else None


def test_a_transaction_that_its_producer_leaves_open(stage: StageFactory) -> None:
    """Records behind it are no lag: metrics, lag and audit tell them beside it, and no longer when it has ended."""
    under = stage()
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: under.scores() == EVENTS, 60, "all events are scored")
    held_back = under.pipeline.events.partitions + MORE
    with hanging_transaction(under):
        under.send(MORE)
        under.until(lambda: total(worker, "open_transaction_records") == held_back, 30, "the worker tells it")
        under.until(lambda: (total(worker, "open_transaction_seconds") or 0) > 0, 30, "and for how long")
        lag = json.loads(surgetank(under, "lag", "--json").stdout)
        audit = surgetank(under, "audit")
        report = under.audit(wait=0)
        assert under.scores() == EVENTS
    assert (lag["lag"], lag["open_transaction_records"]) == (0, held_back)
    assert audit.returncode == 0, audit.stdout
    assert f"{held_back} records behind open transactions of producers" in audit.stdout
    assert (report.held_back, report.lost, report.waiting) == (held_back, 0, 0)

    under.until(lambda: under.scores() == EVENTS + MORE, 60, "the events behind it are scored")
    under.until(lambda: total(worker, "open_transaction_records") is None, 30, "nothing is held back")
    assert under.audit().held_back == 0


@contextmanager
def consuming(under: Stage, client_id: str, protocol: str) -> Iterator[None]:
    """Have a consumer that is no worker in the group of the pipeline, with partitions until the workers come."""
    consumer = clients.member(under.kafka, group=under.pipeline.group, client_id=client_id, protocol=protocol)
    ended, assigned = threading.Event(), threading.Event()

    def on_assign(_: object, partitions: list[object]) -> None:
        if partitions:
            assigned.set()

    # Only the thread that polls calls the consumer: asking it for its assignment from another one has hung once.
    consumer.subscribe([under.pipeline.events.topic], on_assign=on_assign)

    def poll() -> None:
        while not ended.is_set():
            consumer.poll(0.1)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        under.until(assigned.is_set, 60, "the consumer has partitions")
        yield
    finally:
        ended.set()
        thread.join()
        consumer.close()


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_consumer_that_takes_partitions_of_the_group_is_named(stage: StageFactory, protocol: str) -> None:
    """By both group protocols: with its client id, and the number of partitions that nobody scores meanwhile."""
    under = stage(**{"kafka.group_protocol": protocol})
    with consuming(under, "stranger", protocol):
        worker = under.worker()
        under.until(lambda: total(worker, "foreign_members") == 1, 90, "the worker has noticed it")
        warning = next(line for line in worker.log.read_text().splitlines() if "is no worker of this pipeline" in line)
    assert "member 'stranger' at " in warning
    assert f"of group {under.pipeline.group}" in warning
    assert re.search(r"holds [1-9][0-9]* partitions", warning)


def test_an_audit_while_events_wait(stage: StageFactory) -> None:
    """Waiting is not lost; a caller who waits for the end learns that it did not come."""
    under = stage()
    under.send(EVENTS)
    at_once, after_waiting = surgetank(under, "audit"), surgetank(under, "audit", "--wait", "1")
    assert at_once.returncode == 0, at_once.stdout
    assert after_waiting.returncode == 1, after_waiting.stdout
    for said in (at_once.stdout, after_waiting.stdout):
        assert f"exactly once so far: {EVENTS} events wait to be processed" in said
        assert "NOT" not in said
    report = under.audit(wait=0)
    assert (report.waiting, report.lost, report.ok, report.correct) == (EVENTS, 0, False, True)


def test_events_that_expire_before_they_are_read(stage: StageFactory) -> None:
    """Counted in a metric, told on the timeline; the audit does not take outcomes of deleted events for unexpected."""
    under = stage()
    under.send(EVENTS)
    worker = under.worker()
    under.until(lambda: under.lag() == 0 and under.scores() == EVENTS, 60, "all events are scored")
    assert under.fleet.stop(worker) == 0
    under.send(EVENTS)
    gone = 10
    with TopicReader(under.kafka, [under.pipeline.events.topic]) as reader:
        first = {source: end - gone for source, end in reader.ends().items()}
    admin = clients.admin(under.kafka)
    records = [KafkaTopicPartition(*source, offset) for source, offset in first.items()]
    for future in admin.delete_records(records).values():
        future.result(30)

    worker = under.worker()

    other = replace(under.pipeline, name=f"{under.pipeline.name}-b")
    shared = StoppedGroup(under.kafka, other).shared_with([other.events.topic], provisioning.existing(under.kafka))
    assert shared == {other.events.topic: [under.pipeline.name]}, "a reshard of the other one would be refused"
    left = gone * under.pipeline.events.partitions
    under.until(lambda: under.scores() == EVENTS + left, 60, "the events that are left are scored")
    expired = EVENTS - left
    assert total(worker, "events_expired") == expired
    told = [e for e in read_history(under.kafka, under.pipeline, 0, 2**60) if e.kind == EventKind.EVENTS_EXPIRED]
    assert sum(event.details["records"] for event in told) == expired
    assert {event.details["partition"] for event in told} == {source.partition for source in first}
    assert "before they were read" in worker.log.read_text()
    report = under.audit()
    assert (report.expired, report.unexpected, report.lost, report.ok) == (EVENTS, 0, 0, True)
