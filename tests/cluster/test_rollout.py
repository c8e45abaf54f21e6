"""Commands of a rollout on a real Kafka, and those who follow them: late, restarted, without their topic."""

import json
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.errors import RolloutRefused
from surgetank.kafka import clients, provisioning
from surgetank.kafka.topic_identity import topic_identity
from surgetank.rollout.commands import Action, Command
from surgetank.rollout.control_topic import give_command, open_rollout
from surgetank.rollout.followed_plan import PlanSource
from surgetank.rollout.follower import RolloutFollower, RolloutTopic
from surgetank.rollout.kept_plan import KeptPlan
from surgetank.rollout.state import RolloutState
from surgetank.serving_plan import Canary, ServingPlan
from surgetank.timeline.events import EventKind
from surgetank.timeline.reader import read_history
from tests.support import misbehaving_models
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]
SECONDS = 30.0


class Follower:
    """A follower as a worker has it, whose folder is that of a worker; ``plan`` is the next plan that it passes on."""

    def __init__(self, under: Stage, folder: Path) -> None:
        self._plans: queue.SimpleQueue[ServingPlan] = queue.SimpleQueue()
        kafka, topic = under.kafka, under.pipeline.rollout
        self.follower = RolloutFollower(
            RolloutTopic(lambda: open_rollout(kafka, topic), lambda: topic_identity(kafka, topic)),
            under.pipeline.model,
            KeptPlan(folder / "rollout.json"),
            under.clock,
            report=lambda _: None,
            identity_seconds=0.5,
        )
        self.first = self.follower.start(SECONDS)
        self.follower.follow(self._plans.put)

    def plan(self) -> ServingPlan:
        """Wait for the next plan."""
        return self._plans.get(timeout=SECONDS)


@contextmanager
def following(under: Stage, folder: Path) -> Iterator[Follower]:
    """Follow the rollout."""
    found = Follower(under, folder)
    try:
        yield found
    finally:
        found.follower.close()


def test_the_rollout_topic_is_deleted_while_workers_follow_it(
    stage: StageFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All come to the same plan: running, late and restarted ones, and a worker; without the topic it goes on.

    A mangled record and a refused command change nothing. Who did what is in the history and on the timeline.
    """
    models = tmp_path / "models"
    for version in ("1", "2", "3"):
        misbehaving_models.publish(models, version, misbehaving_models.good())
    under = stage(**{"model.directory": models})
    monkeypatch.setattr("surgetank.cli.pipeline_argument.resolve", lambda _: under.pipeline)

    def run(*words: str) -> Any:
        options = ["--bootstrap", under.kafka.bootstrap, "--set", f"model.directory={models}"]
        result = CliRunner().invoke(app, [*words, "--json", *options, "--set", "rollout.operator=alice"])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    worker = under.worker(ready=False)  # it starts while commands are given
    promoted = ServingPlan("2", loaded=frozenset({"1"}))
    with following(under, tmp_path / "running") as running:
        assert (running.first.source, running.first.warning) == (PlanSource.PINNED, "")
        run("models", "shadow", "any", "2")
        assert running.plan() == ServingPlan("1", shadow="2")
        run("models", "canary", "any", "--percent", "5", "--allow-keys", "N14228", "--reason", "less drift")
        assert running.plan() == ServingPlan("1", Canary("2", 0.05, "2", frozenset({b"N14228"})))
        mangle(under)
        run("models", "pause", "any")
        run("models", "resume", "any", "--revision", "3")

        def while_promoted(state: RolloutState, id_: str) -> Command:
            run("models", "promote", "any", "2", "--revision", "4")
            fields: dict[str, Any] = {
                "id": id_,
                "model": under.pipeline.model,
                "who": "bob",
                "at": 0,
                "revision": state.revision,
            }
            return Command(action=Action.ROLLBACK, **fields)

        with pytest.raises(RolloutRefused, match="since then: alice: promote 2"):  # written, and too late
            give_command(under.kafka, under.pipeline.rollout, under.pipeline.model, while_promoted)
        assert running.plan() == promoted
        with pytest.raises(RolloutRefused, match="since then: alice: promote 2"):
            run("models", "rollback", "any", "--revision", "4")
        run("models", "rollback", "any", "1", "--revision", "5")
        assert running.plan() == ServingPlan("1")
        run("models", "deploy", "any", "2")
        assert running.plan() == promoted

        with following(under, tmp_path / "late") as late:
            assert (late.first.source, late.first.plan, late.first.mangled) == (PlanSource.TOPIC, promoted, 1)
        under.fleet.wait_ready(worker)
        under.until(lambda: 'rollout_plan_info{role="primary",version="2"} 1' in page(worker), 20, "the worker follows")

        shown = run("models", "status", "any")
        assert (shown["phase"], shown["primary"], shown["previous"]) == ("stable", "2", "1")
        assert (shown["revision"], shown["last"]["who"], len(shown["mangled"])) == (7, "alice", 1)
        assert len(shown["workers"]) == 1
        commands = run("models", "history", "any")["commands"]
        assert [(each["who"], each["action"]) for each in commands if not each["accepted"]] == [("bob", "rollback")]
        assert [each["action"] for each in commands if each["accepted"]] == [
            *("shadow", "canary", "pause", "resume", "promote", "rollback", "deploy"),
        ]
        told = [each for each in read_history(under.kafka, under.pipeline, 0, 2**60) if each.kind == EventKind.ROLLOUT]
        assert [(each.who, each.details["revision"]) for each in told] == [("alice", n + 1) for n in range(7)]
        assert "less drift" in told[1].what

        provisioning.delete(under.kafka, [under.pipeline.rollout])
        under.until(lambda: bool(running.follower.current.warning), SECONDS, "the deleted topic is noticed")
        assert (running.follower.current.source, running.follower.current.plan) == (PlanSource.LAST_KNOWN, promoted)
        with following(under, tmp_path / "running") as restarted:
            assert (restarted.first.source, restarted.first.plan) == (PlanSource.LAST_KNOWN, promoted)
            under.apply_topics()
            run("models", "deploy", "any", "3")
            newest = ServingPlan("3", loaded=frozenset({"1"}))
            assert (running.plan(), restarted.plan()) == (newest, newest)
        assert worker.ready
        assert under.fleet.stop(worker) == 0


def page(worker: Any) -> str:
    """Return the metrics of a worker."""
    return worker.ask("/metrics", timeout=5) or ""


def mangle(under: Stage) -> None:
    """Write a record that is no command."""
    producer = clients.producer(under.kafka)
    producer.produce(under.pipeline.rollout, b"no command", b"key", 0)
    assert producer.flush(10) == 0
