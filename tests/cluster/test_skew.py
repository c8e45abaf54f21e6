"""No skew: what workers record of features is what is computed offline, whatever becomes of workers. Real brokers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pytest
from confluent_kafka import TopicPartition as KafkaTopicPartition

from surgetank.declaration import Pipeline
from surgetank.drills.recording import Recording
from surgetank.kafka import clients, provisioning
from surgetank.offline.feature_log_check import FeatureLogReport, check_feature_log
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY, Stage
from tests.support.stateful_pipeline import Remembered
from tests.support.topologies import worker_faults
from tests.support.topologies.departures import leaving
from tests.support.topologies.stateful_flights import ENVIRONMENT, publish
from topology.recordings.flights import LAP, departures_table

YEAR = 328_521
PARTS = 5
EVENTS = 100_000
RECORDING = {"features.record": True}

Staged = TypeVar("Staged", bound=Stage)


class StagedFactory(Protocol):
    """Sets a stage of a kind."""

    def __call__(self, kind: type[Staged]) -> Staged:
        """Return it, with its topics."""


@lru_cache(maxsize=1)
def all_departures() -> tuple[Recording, ...]:
    """Return the departures of the year in parts, in the order of the schedule: event times go back by hours."""
    events = replace(leaving("any").events, time="scheduled_departure")
    table = departures_table().sort_by("scheduled_departure")
    edges = np.linspace(0, YEAR, PARTS + 1).astype(int)
    return tuple(
        Recording.merge([(events, table.slice(first, end - first))], lap=LAP) for first, end in pairwise(edges.tolist())
    )


class Leaving(Stage):
    """The pipeline of tests/support/topologies/departures.py under test."""

    topology = "tests.support.topologies.departures"
    part = -1

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline, with its model made now."""
        pipeline, models = leaving(self.prefix, partitions), self.folder / "models"
        publish(models, pipeline)
        return pipeline, models

    def events(self) -> Recording:
        """Return the departures of one part of the year, which are scored."""
        return all_departures()[self.part].to({"any.departures": self.pipeline.events.topic})

    def kill_in_the_next_part(self, worker: str) -> None:
        """Send a part of the year, and kill a worker that has partitions while some events of it wait or are open."""
        self.part += 1
        count = len(self.events())
        member = self.fleet.members[worker]
        self.until(lambda: member.partitions > 0, 120, f"{worker} has partitions")
        replay = self.sending(count, 20_000)
        self.until(lambda: replay.acknowledged > count / 3 and self.lag() > 0, 120, "flow")
        self.fleet.kill(member)
        self.until(lambda: replay.acknowledged == count, 120, "all of it was sent")


def delete(kafka: KafkaSettings, source: TopicPartition, before: int) -> None:
    """Delete the first records of a partition, as retention does."""
    admin = clients.admin(kafka)  # kept until the answer is here: with it that would be gone
    admin.delete_records([KafkaTopicPartition(*source, before)])[KafkaTopicPartition(*source)].result(30)


@pytest.fixture
def staged(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[StagedFactory]:
    """Return a function that sets a stage of a kind, its topics made, with workers that record features."""
    with ExitStack() as leaving_:

        def make(kind: type[Staged]) -> Staged:
            new = kind(kafka.settings, tmp_path, settings=IN_PLAY | RECORDING)
            leaving_.enter_context(new)
            provisioning.apply(new.kafka, new.pipeline, recording=True)
            return new

        yield make


def assert_no_skew(under: Stage, found: FeatureLogReport, events: int) -> None:
    """Assert that each event has one record, that every value is what it is offline, and that they say something."""
    skewed = [each for each in found.skew.features if each.differing]
    assert found.ok, f"{skewed}\n{under.logs()}"
    assert found.skew.events == events
    assert (found.unrecorded, found.doubled, found.others, found.gone) == (0, 0, 0, 0)
    assert found.lacking == {}
    assert [each.name for each in found.skew.features] == list(under.pipeline.spec.names)
    for each in found.skew.features:
        assert each.known > 100, f"{each.name} says little"


def test_a_year_of_departures_with_kills_in_between(staged: Callable[[type[Leaving]], Leaving]) -> None:
    """All 328,521 events by tail number; six times a worker dies, and one follows on its disk or on an empty one."""
    under = staged(Leaving)
    under.worker(name="one")
    under.worker(name="two")

    under.kill_in_the_next_part("one")
    under.worker(name="one", ready=False)
    under.kill_in_the_next_part("two")
    under.worker(name="three", ready=False)  # with nothing on its disk
    under.kill_in_the_next_part("one")
    under.worker(name="one", ready=False)
    under.kill_in_the_next_part("three")
    dies = under.worker(
        name="three", ready=False, environment={worker_faults.ENVIRONMENT: "between commit and write:3"}
    )
    under.kill_in_the_next_part("one")
    under.worker(name="one", ready=False)
    under.until(lambda: not dies.running, 120, "it died between commit and write")
    under.worker(name="three", ready=False)

    found = under.audit()

    assert found.ok, (found, under.logs())
    assert found.scores == YEAR
    assert_no_skew(under, check_feature_log(under.kafka, under.pipeline), YEAR)


def test_what_departures_told_to_boardings(staged: Callable[[type[Remembered]], Remembered]) -> None:
    """Facts come as they come: each record says which its event followed. What a topic no longer has is told."""
    under = staged(Remembered)
    first = under.worker()
    under.worker()
    replay = under.sending(EVENTS, 20_000)
    under.until(lambda: replay.acknowledged > EVENTS / 3 and first.partitions > 0 and under.lag() > 0, 120, "flow")

    under.fleet.kill(first)

    under.until(lambda: replay.acknowledged == EVENTS, 120, "all was sent")
    found = under.audit()
    assert found.ok, (found, under.logs())
    assert_no_skew(under, check_feature_log(under.kafka, under.pipeline), found.scores)

    delete(under.kafka, TopicPartition(under.pipeline.events.topic, 1), before=50)
    ended = subprocess.run(
        [sys.executable, "-m", "surgetank.cli", "features", "compare", under.topology, "--json"],
        env=os.environ | {ENVIRONMENT: under.prefix, "SURGETANK_KAFKA__BOOTSTRAP": under.kafka.bootstrap},
        stdout=subprocess.PIPE,
        check=False,
    )
    told = json.loads(ended.stdout)
    assert ended.returncode == 1, "what was deleted is missing offline"
    assert told["lacking"] == {f"{under.pipeline.events.topic}[1]": 50}
    assert told["gone"] > 0
    assert told["skew"]["events"] == found.scores - told["gone"]
    assert told["skew"]["only_online"] == told["doubled"] == 0
