"""A short run of the chaos drill; ``surgetank chaos exactly-once --kills 100`` is the long one."""

from pathlib import Path

import pytest

from surgetank.drills.chaos import Chaos, ChaosPlan
from surgetank.drills.environment import DrillEnvironment
from surgetank.kafka import provisioning
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import real_events
from tests.support.stateful_pipeline import all_events
from tests.support.topologies import stateful_flights
from tests.support.topologies.stateless_flights import ENVIRONMENT, prefixed


def test_eight_kills_of_workers_and_brokers_lose_and_double_nothing(
    kafka3: KafkaUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers and brokers die, freeze, stop and join under load; then every event has one score, in order."""
    assert kafka3.cluster is not None
    prefix = f"chaos{tmp_path.name[-4:]}".replace("_", "")
    monkeypatch.setenv(ENVIRONMENT, prefix)
    pipeline = prefixed(prefix)
    provisioning.apply(kafka3.settings, pipeline)
    events = real_events().to({"flights.boarding": pipeline.events.topic})
    models = {"model.directory": Path(__file__).parents[2] / "topology" / "models"}
    site = DrillEnvironment(
        pipeline,
        "tests.support.topologies.stateless_flights",
        events,
        kafka3.cluster,
        kafka3.settings,
        tmp_path / "logs",
        models,
    )

    found = Chaos(site, ChaosPlan(kills=8, seed=11, mean_seconds=1.0, backlog=100_000), say=print).run()

    for line in found.lines:
        print(line)
    assert found.kills == 8
    assert found.in_play_peak >= 100_000
    assert found.passed, found.audit


def test_kills_leave_every_key_as_its_events_make_it(
    kafka3: KafkaUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same blows to a pipeline with memory: every event has one score, and every key of every table its state."""
    assert kafka3.cluster is not None
    prefix = f"memory{tmp_path.name[-4:]}".replace("_", "")
    monkeypatch.setenv(stateful_flights.ENVIRONMENT, prefix)
    pipeline = stateful_flights.remembering(prefix)
    stateful_flights.publish(tmp_path / "models", pipeline)
    provisioning.apply(kafka3.settings, pipeline)
    (facts,) = pipeline.facts
    events = all_events().to({"flights.boarding": pipeline.events.topic, "flights.departures": facts.topic})
    models = {"model.directory": tmp_path / "models"}
    site = DrillEnvironment(
        pipeline,
        "tests.support.topologies.stateful_flights",
        events,
        kafka3.cluster,
        kafka3.settings,
        tmp_path / "logs",
        models,
    )

    found = Chaos(site, ChaosPlan(kills=8, seed=12, mean_seconds=1.0, backlog=100_000), say=print).run()

    for line in found.lines:
        print(line)
    assert found.kills == 8
    assert [state["table"] for state in found.states] == ["planes", "aircraft", "predictions"]
    assert found.passed, (found.audit, found.states)
