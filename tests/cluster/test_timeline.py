"""The timeline of a pipeline: what its workers and operators do is there, in order, and in nobody's way."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from surgetank.kafka import clients, provisioning
from surgetank.timeline.events import EventKind, TimelineEvent
from surgetank.timeline.reader import read_history
from tests.support import misbehaving_models
from tests.support.event_bytes import far_away, real, send
from tests.support.live_pipeline import Stage
from tests.support.topologies import stateless_flights
from tests.support.topologies.stateless_flights import ENVIRONMENT

StageFactory = Callable[..., Stage]

ALL = 4  # partitions of a stage


def story(under: Stage) -> list[TimelineEvent]:
    """Return all that happened, by time."""
    return read_history(under.kafka, under.pipeline, 0, 2**60)


def of(under: Stage, worker: str, kind: EventKind) -> list[TimelineEvent]:
    """Return what one worker told of a kind."""
    return [event for event in story(under) if event.kind == kind and event.who.endswith(worker)]


def moved(under: Stage, worker: str, change: str) -> int:
    """Return how many partitions a worker gained, gave up or lost in all."""
    return sum(
        len(event.details["partitions"])
        for event in of(under, worker, EventKind.REBALANCE)
        if event.details["change"] == change
    )


def delete(under: Stage, topic: str) -> None:
    """Delete a topic, and wait until it is gone."""
    admin = clients.admin(under.kafka)
    admin.delete_topics([topic])[topic].result(30)
    under.until(lambda: topic not in provisioning.existing(under.kafka), 30, f"{topic} is gone")


def surgetank(under: Stage, *arguments: str) -> str:
    """Return what a command prints that ends well."""
    command = [sys.executable, "-m", "surgetank.cli", *arguments, "--bootstrap", under.kafka.bootstrap]
    return subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "", "HOME": "", ENVIRONMENT: under.prefix},
        cwd=Path(__file__).parents[2],
    ).stdout


def test_the_story_of_two_workers_is_told_in_order(stage: StageFactory) -> None:
    """Start, deploy, rebalances, a kill -9 and a clean stop come out as they happened, by the command line too."""
    under = stage()
    first = under.worker()
    under.until(lambda: len(of(under, first.name, EventKind.TASK_OPENED)) > 0, 30, "the first has told of its tasks")
    second = under.worker()
    under.until(lambda: moved(under, second.name, "gained") > 0, 60, "the second gained partitions")
    under.until(lambda: moved(under, first.name, "gave up") > 0, 60, "the first gave some up")
    given = moved(under, first.name, "gave up")

    under.fleet.kill(second)
    under.until(lambda: moved(under, first.name, "gained") == ALL + given, 60, "the first gained what the dead one had")
    under.until(lambda: under.fleet.running == [first] and first.ready, 60, "the first runs all of it")
    assert under.fleet.stop(first) == 0

    told = story(under)
    assert [event.at for event in told] == sorted(event.at for event in told)
    chapters = [(event.kind, event.who.removeprefix(f"{under.prefix}-")) for event in told]
    assert chapters[0] == (EventKind.WORKER_STARTED, first.name), told
    assert chapters[-1] == (EventKind.WORKER_STOPPED, first.name), told
    assert told[-1].details["exit_code"] == 0
    assert [kind for kind, _ in chapters].count(EventKind.DEPLOY) == 1, "both are of one model and one code"
    ends = [event for event in told if event.kind in {EventKind.WORKER_STOPPED, EventKind.WORKER_FAILED}]
    assert [event.who for event in ends] == [told[-1].who], "who is killed by -9 tells nothing"
    assert chapters.index((EventKind.WORKER_STARTED, second.name)) < chapters.index((EventKind.REBALANCE, second.name))
    assert [EventKind.ANOMALY for kind, _ in chapters if kind == EventKind.ANOMALY] == []

    lines = surgetank(under, "timeline", stateless_flights.__name__, "--since", "1h", "--json").splitlines()
    assert [json.loads(line) for line in lines] == [event.as_dict() for event in told]
    shown = surgetank(under, "timeline", stateless_flights.__name__, "--since", "1h").splitlines()
    assert len(shown) == len(told)
    assert all(event.what in line for event, line in zip(told, shown, strict=True))


def test_the_end_of_a_stuck_worker_is_told_with_its_exit_code(stage: StageFactory, tmp_path: Path) -> None:
    """Exit code 4 is there with the reason, and the successor of an older model is a deploy."""
    models = tmp_path / "models"
    misbehaving_models.publish(models, "1", misbehaving_models.good())
    misbehaving_models.publish(models, "2", misbehaving_models.hangs_beyond(50_000.0))
    under = stage(**{"model.directory": models, "model.call_deadline_seconds": 3, "worker.stuck_deadline_seconds": 30})
    send(under, [*real(1_000), far_away(0)])
    hanging = under.worker(ready=False)
    assert hanging.process.wait(60) == 4, under.logs()
    successor = under.worker(environment={"SURGETANK_MODEL__VERSION": "1"})
    under.until(lambda: bool(of(under, successor.name, EventKind.DEPLOY)), 30, "the deploy is told")

    (failed,) = of(under, hanging.name, EventKind.WORKER_FAILED)
    assert failed.details["exit_code"] == 4
    assert "a model call has run for" in failed.what
    (back,) = of(under, successor.name, EventKind.DEPLOY)
    assert "1, previously" in back.what
    (started,) = of(under, successor.name, EventKind.WORKER_STARTED)
    assert failed.at <= started.at


def test_without_its_topic_the_work_goes_on(stage: StageFactory) -> None:
    """A worker runs and stops as ever where the timeline is missing; it says once that it is lost."""
    under = stage()
    delete(under, under.pipeline.timeline)
    under.send(20_000)
    worker = under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    assert found.scores == 20_000
    assert under.fleet.stop(worker) == 0
    lost = [line for line in worker.log.read_text().splitlines() if under.pipeline.timeline in line]
    assert len(lost) == 1, lost


def test_making_topics_is_told_as_an_operators_command(stage: StageFactory) -> None:
    """What ``topics apply`` made is on the timeline; applying again changes nothing and tells nothing."""
    under = stage()
    delete(under, under.pipeline.scores.topic)
    for _ in range(2):
        surgetank(under, "topics", "apply", stateless_flights.__name__, "--no-declaration")
    (told,) = story(under)
    assert told.kind == EventKind.OPERATOR_COMMAND
    assert told.details["made"] == [under.pipeline.scores.topic]
