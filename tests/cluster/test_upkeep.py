"""State that is changed while workers are stopped: cut short anywhere, it ends as the events make it. Real brokers."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import NewPartitions

from surgetank.declaration import PREDICTIONS
from surgetank.drills.fleet import Member
from surgetank.drills.state_check import last_values
from surgetank.kafka import clients, provisioning
from surgetank.lag.group_offsets import GroupOffsets
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY
from tests.support.stateful_pipeline import ENVIRONMENT, Remembered
from tests.support.topologies import worker_faults
from tests.support.topologies.stateful_flights import CHANGE, FEWER, WINDOW, publish, remembering

EVENTS = 20_000
REFUSED = 2
SURGETANK = (sys.executable, "-m", "surgetank.cli", "state")

RememberedFactory = Callable[..., Remembered]


@pytest.fixture
def remembered(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[RememberedFactory]:
    """Return a function that sets a stage with memory, its topics made; its keywords are the workers' settings."""
    with ExitStack() as leaving:

        def make(**settings: object) -> Remembered:
            new = leaving.enter_context(Remembered(kafka.settings, tmp_path, settings=settings))
            new.apply_topics()
            return new

        yield make


class Operator:
    """Somebody at the command line of a pipeline under test, whose declaration may change."""

    def __init__(self, under: Remembered) -> None:
        self.under = under
        self.environment = {ENVIRONMENT: under.prefix}

    def declares(self, change: str) -> None:
        """Change what the pipeline remembers; workers and commands that start from now on know it."""
        self.under.pipeline = remembering(self.under.prefix, change=change)
        publish(self.under.models, self.under.pipeline)
        self.environment[CHANGE] = change

    def runs(self, *command: str, fault: str = "") -> tuple[int, str]:
        """Run ``surgetank state`` with a command; return its status and all that it said."""
        done = subprocess.run(
            [*SURGETANK, command[0], self.under.topology, *command[1:], "--bootstrap", self.under.kafka.bootstrap],
            env=os.environ | self.environment | {worker_faults.ENVIRONMENT: fault},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        return done.returncode, done.stdout + done.stderr

    def succeeds(self, *command: str) -> str:
        """Run it and return what it said; fail if it does."""
        status, said = self.runs(*command)
        assert status == 0, said
        return said

    def is_killed(self, *command: str, fault: str) -> None:
        """Run it and see it die at that point; after that, no worker starts."""
        status, said = self.runs(*command, fault=fault)
        assert status == -signal.SIGKILL, said
        assert f"{self.under.pipeline.migration_topic}' is there" in self.refused()

    def starts(self) -> Member:
        """Start the worker, on the disk that it had."""
        return self.under.worker(environment=self.environment, name="stays")

    def refused(self) -> str:
        """Start a worker that must not run; return what it says."""
        worker = self.under.worker(ready=False, environment=self.environment, name="stays")
        self.under.until(lambda: not worker.running, 60, "the worker ended")
        said = worker.log.read_text()
        assert worker.process.returncode == REFUSED, said
        return said

    def works_off(self, count: int) -> None:
        """Send events and have the worker process and commit all of them, facts too; then stop it."""
        under = self.under
        under.send(count)
        worker = self.starts()
        found = under.audit()
        assert found.ok, (found, under.logs())
        under.check_states()  # once all is committed
        assert under.fleet.stop(worker) == 0


@pytest.fixture
def operator(remembered: RememberedFactory) -> Operator:
    """Return who works on a pipeline that has processed some events, and whose worker is stopped."""
    found = Operator(remembered(**IN_PLAY))
    found.works_off(EVENTS)
    return found


def test_a_pipeline_grows_in_mid_stream(operator: Operator) -> None:
    """From 4 to 8 partitions, killed on the way: each event counts once, each key goes on with what it did before."""
    under = operator.under
    said = operator.succeeds("reshard", "--partitions", "8", "--dry-run")
    assert "would move" in said
    operator.is_killed("reshard", "--partitions", "8", fault="in a rewriting:1500")

    said = operator.succeeds("reshard")

    assert "from 4 partitions to 8, by murmur2" in said
    assert f"Events('{under.pipeline.events.topic}', partitions=8)" in said
    there = provisioning.existing(under.kafka)
    assert {there[spec.name] for spec in provisioning.needed(under.pipeline) if not spec.optional} == {8}
    under.check_states()
    operator.works_off(EVENTS)
    logs = [member.log.read_text() for member in under.fleet.members.values()]
    assert "made for 4 partitions" in logs[0]
    assert not any("not committed by a worker" in each for each in logs), "the new partitions have offsets of ours"
    under.check_scores()
    operator.succeeds("rebuild", "--from-events")
    under.check_states()


def test_events_that_were_given_more_partitions_are_caught_up_with(operator: Operator) -> None:
    """Somebody grew the events alone and sent on: workers refuse, drain what was, and after a reshard do the rest."""
    under = operator.under
    under.send(EVENTS // 4)
    names = under.pipeline.sources
    admin = clients.admin(under.kafka)  # kept until the answers are here: with it they would be gone
    for future in admin.create_partitions([NewPartitions(each, 8) for each in names]).values():
        future.result(30)
    under.send(EVENTS // 2)
    assert f"surgetank state reshard {under.prefix}" in operator.refused()
    status, said = operator.runs("reshard")
    assert status == REFUSED
    assert "are not processed" in said
    assert "state.drain=true" in said

    drains = under.worker(environment=operator.environment | {"SURGETANK_STATE__DRAIN": "true"}, name="stays")
    under.until(
        lambda: f"surgetank state reshard {under.prefix}" in drains.log.read_text(), 60, "it says what it does not do"
    )
    under.until(lambda: operator.runs("reshard")[1].count("workers of") == 1, 60, "it runs")
    under.until(lambda: not left(under, 4), 60, "the old partitions are empty")
    assert under.fleet.stop(drains) == 0
    assert "from 4 partitions to 8" in operator.succeeds("reshard")
    operator.works_off(EVENTS // 4)
    under.check_scores()


def left(under: Remembered, partitions: int) -> int:
    """Return how many records of the first partitions are not committed."""
    offsets = GroupOffsets(under.kafka, under.pipeline.group, under.pipeline.sources).now()
    return sum(each.lag for each in offsets if each.source.partition < partitions)


def test_rows_that_hold_enough_are_migrated(operator: Operator) -> None:
    """Fewer statistics of the same windows: workers refuse, rows are converted, killed on the way; nothing is lost."""
    under = operator.under
    operator.declares(FEWER)
    said = operator.refused()
    assert "table 'planes'" in said or "table 'aircraft'" in said
    assert f"`surgetank state rebuild {under.prefix}`" in said
    said = operator.succeeds("rebuild", "--dry-run")
    assert said.count("rows migrated (4 partitions)") == 2
    assert f"{PREDICTIONS}: nothing to do" in said
    operator.is_killed("rebuild", fault="in a rewriting:3000")

    assert "rows migrated" in operator.succeeds("rebuild")

    under.check_states()
    assert operator.succeeds("rebuild").count("nothing to do") == 3
    operator.works_off(EVENTS // 2)


def test_rows_that_do_not_are_rebuilt_from_the_events(operator: Operator) -> None:
    """Another window: workers refuse, rows are worked out anew, killed on the way; they are what the events make."""
    under = operator.under
    operator.declares(WINDOW)
    assert "holds rows of another declaration" in operator.refused()
    said = operator.succeeds("rebuild", "--dry-run")
    assert said.count("rebuilt from") == 2
    operator.is_killed("rebuild", fault="in a rewriting:3000")

    assert "rebuilt from" in operator.succeeds("rebuild")

    under.check_states()
    operator.works_off(EVENTS // 2)


def test_events_that_are_deleted_are_missed(operator: Operator) -> None:
    """A rebuild that could not be whole is refused with the number of events that are gone, unless it is wanted so."""
    under = operator.under
    operator.declares(WINDOW)
    cut(under, 500)

    status, said = operator.runs("rebuild", "--dry-run")
    assert status == REFUSED
    assert "planes: refused: 500 events" in said
    status, said = operator.runs("rebuild")
    assert status == REFUSED
    assert "500 of its source records are deleted" in said
    assert "500 are gone" in operator.succeeds("rebuild", "--from-what-is-left")
    operator.starts()


def cut(under: Remembered, records: int) -> None:
    """Delete the first records of the first partition of the events."""
    admin = clients.admin(under.kafka)
    (deleted,) = admin.delete_records([KafkaTopicPartition(under.pipeline.events.topic, 0, records)]).values()
    deleted.result(30)


def test_wrong_rows_are_mended_and_no_disk_is_believed(operator: Operator) -> None:
    """Somebody wrote rows into a changelog: the events say what they should be, and an older disk takes the change."""
    under = operator.under
    topic = under.pipeline.changelogs["planes"]
    producer, spoilt = clients.producer(under.kafka), rows(under, topic)
    keys = sorted(spoilt)[:50]
    for key, other in zip(keys, reversed(keys), strict=True):
        producer.produce(topic, spoilt[other], key[1], key[0])
    assert producer.flush(30) == 0
    worker = operator.starts()
    assert under.fleet.stop(worker) == 0
    with pytest.raises(AssertionError, match="wrong"):
        under.check_states()
    assert operator.succeeds("rebuild", "--dry-run").count("nothing to do") == 3

    said = operator.succeeds("rebuild", "--table", "planes", "--from-events")

    assert "planes: rebuilt from" in said
    assert "aircraft" not in said
    under.check_states()
    operator.works_off(EVENTS // 2)
    under.check_scores()


def rows(under: Remembered, topic: str) -> dict[tuple[int, bytes], bytes]:
    """Return the last values of a changelog by partition and key."""
    return last_values(under.kafka, topic)[0]


def test_what_cannot_be_done_is_refused_and_changes_nothing(operator: Operator) -> None:
    """Workers that run, events that wait, fewer partitions, strange tables: each is said, with the way out."""
    under = operator.under
    before = provisioning.existing(under.kafka)
    worker = operator.starts()
    for command in (["reshard", "--partitions", "8"], ["rebuild", "--from-events"]):
        status, said = operator.runs(*command)
        assert status == REFUSED
        assert "run: " in said
        assert "stop them before" in said
    assert under.fleet.stop(worker) == 0
    under.send(100)

    status, said = operator.runs("reshard", "--partitions", "8")
    assert status == REFUSED
    assert "100 records of" in said or "are not processed" in said
    status, said = operator.runs("reshard", "--partitions", "2")
    assert status == REFUSED
    assert "cannot remove partitions" in said
    status, said = operator.runs("rebuild", "--table", "ships")
    assert status == REFUSED
    assert "no table 'ships'" in said

    assert provisioning.existing(under.kafka) == before
