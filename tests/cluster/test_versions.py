"""A worker that switches between versions of its model while it scores."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from surgetank.declaration import SCORE
from surgetank.drills.fleet import Member
from surgetank.drills.wire import decoder
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing.shadow_records import SHADOW_SCORE
from surgetank.records import TopicPartition
from surgetank.rollout.commands import Action, Command
from surgetank.rollout.control_topic import give_command
from surgetank.rollout.state import RolloutState, serving_plan
from surgetank.serving.key_share import KeyShare
from surgetank.serving_plan import Canary
from tests.support import misbehaving_models
from tests.support.live_pipeline import Stage

StageFactory = Callable[..., Stage]

AFTERWARDS = 1_000
LAST = Canary("3", 0.3, salt="3")
STEPS: tuple[tuple[Action, dict[str, Any]], ...] = (
    (Action.DEPLOY, {"version": "2"}),
    (Action.CANARY, {"version": "3", "percent": 50.0}),
    (Action.PROMOTE, {}),
    (Action.SHADOW, {"version": "1"}),
    (Action.ROLLBACK, {}),
    (Action.DEPLOY, {"version": "2"}),
    (Action.CANARY, {"version": LAST.version, "percent": 100 * LAST.share}),
)


def give(under: Stage, action: Action, **fields: Any) -> RolloutState:
    """Give a command as an operator does; return the state after it."""

    def made(state: RolloutState, id_: str) -> Command:
        said: dict[str, Any] = {"id": id_, "model": under.pipeline.model, "who": "alice", "at": 0}
        return Command(action=action, primary="1", revision=state.revision, **said, **fields)

    return give_command(under.kafka, under.pipeline.rollout, under.pipeline.model, made).state


def served(worker: Member) -> set[tuple[str, str]]:
    """Return the versions that a worker serves, with their roles."""
    page = worker.ask("/metrics") or ""
    found = re.findall(r'surgetank_model_info{model="[^"]*",role="([^"]*)",version="([^"]*)"} 1', page)
    return {(version, role) for role, version in found}


def roles(state: RolloutState) -> set[tuple[str, str]]:
    """Return the versions that are to be served in a state, with their roles."""
    plan = serving_plan(state)
    assert plan is not None
    return {(plan.primary, "primary")} | (
        {(plan.canary.version, "canary")} if plan.canary else {(plan.shadow, "shadow")} if plan.shadow else set()
    )


def test_switches_under_load_lose_and_repeat_no_event(stage: StageFactory, tmp_path: Path) -> None:
    """Each event has one score, each version has scored, and keys get the version that the plan gives them."""
    models = tmp_path / "models"
    for version in ("1", "2", "3"):
        misbehaving_models.publish(models, version, misbehaving_models.good())
    under = stage(**{"model.directory": models, "model.version": "1"})
    worker = under.worker()
    replay = under.sending(10**6, 1_000)
    under.until(lambda: under.scores() > 500, 60, "version 1 scores")
    for action, fields in STEPS:
        state, scored = give(under, action, **fields), under.scores()
        under.until(lambda state=state: served(worker) == roles(state), 30, f"{state} is served")  # type: ignore[misc]
        under.until(lambda scored=scored: under.scores() > scored + 300, 30, f"{action} scores")  # type: ignore[misc]
    replay.stop()
    found = under.audit()
    assert found.ok, found
    before = ends(under, under.pipeline.scores.topic)
    under.send(AFTERWARDS)
    found = under.audit()
    assert found.ok, found
    assert (found.scores, found.dead_letters) == (found.events, 0)
    sources = [TopicPartition(under.pipeline.events.topic, number) for number in range(4)]
    owners = GroupClient(under.kafka, under.pipeline.group).offset_owners(sources, 10.0)
    assert {owner.model.version for owner in owners.values() if owner and owner.model} == {"2"}

    by_version: Counter[str] = Counter()
    decode, share = decoder(SCORE), KeyShare(LAST)
    with TopicReader(under.kafka, [under.pipeline.scores.topic]) as reader:
        for records in reader.catch_up():
            batch = decode(records)
            named = batch.columns["model_version"].to_pylist()
            by_version.update(named)
            starts = np.array([before[source] for source in records.sources])[records.source]
            by_canary = share.chosen(records.keys, batch.rows)
            for version, is_in, is_last in zip(named, by_canary, records.offsets >= starts, strict=True):
                assert not is_last or version == ("3" if is_in else "2")
    assert by_version.keys() == {"1", "2", "3"}
    check_shadow(under)


def check_shadow(under: Stage) -> None:
    """Fail unless the shadow's scores are those of version 1 beside the served ones, each event at most once."""
    decode, seen = decoder(SHADOW_SCORE), list[tuple[int, int]]()
    with TopicReader(under.kafka, [under.pipeline.shadow_scores]) as reader:
        for records in reader.catch_up():
            columns = decode(records).columns
            assert set(columns["model_version"].to_pylist()) == {"1"}
            assert columns["score"].to_pylist() == columns["served_score"].to_pylist()  # the versions are equal
            assert set(columns["served_model_version"].to_pylist()) <= {"1", "2", "3"}
            assert columns["source_partition"].to_pylist() == [records.sources[i].partition for i in records.source]
            seen += zip(columns["source_partition"].to_pylist(), columns["source_offset"].to_pylist(), strict=True)
    assert seen
    assert len(set(seen)) == len(seen)


def ends(under: Stage, topic: str) -> dict[TopicPartition, int]:
    """Return the end of each partition of a topic."""
    sources = [TopicPartition(topic, number) for number in range(4)]
    return {source: end for source, (_, end) in GroupClient(under.kafka, "ends").bounds(sources, 10.0).items()}
