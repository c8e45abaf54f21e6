"""A worker that switches between versions of its model while it scores."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from surgetank.declaration import SCORE
from surgetank.drills.wire import decoder
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.topic_reader import TopicReader
from surgetank.processing.shadow_records import SHADOW_SCORE
from surgetank.records import TopicPartition
from surgetank.serving.key_share import KeyShare
from surgetank.serving_plan import Canary
from tests.support import misbehaving_models
from tests.support.live_pipeline import Stage
from tests.support.topologies.stateless_flights import ENVIRONMENT

StageFactory = Callable[..., Stage]

PART, EVENTS = 1_500, 9_000  # six parts
LAST = Canary("3", 0.3, salt="3")
PLANS: tuple[dict[str, object], ...] = (
    {"primary": "2", "loaded": ["1"]},
    {"primary": "2", "canary": ["3", 0.5], "loaded": ["1"]},
    {"primary": "1", "shadow": "2", "loaded": ["3"]},
    {"primary": "3", "loaded": ["2"]},
    {"primary": "2", "canary": [LAST.version, LAST.share, LAST.salt], "shadow": "2"},
)


class Controlled:
    """A worker that takes plans."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def apply(self, **plan: object) -> None:
        """Apply a plan and wait until it is in force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(plan), file=self._process.stdin, flush=True)
        assert json.loads(self._process.stdout.readline()) == {"in_force": plan["primary"]}


@contextmanager
def controlled(under: Stage, models: Path) -> Iterator[Controlled]:
    """Run a worker that takes plans; stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.plan_worker", under.kafka.bootstrap, str(models)],
        env=os.environ | {ENVIRONMENT: under.prefix},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Controlled(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()


def test_five_switches_under_load_lose_and_repeat_no_event(stage: StageFactory, tmp_path: Path) -> None:
    """Each event has one score, each version has scored, and keys get the version that the plan gives them."""
    models = tmp_path / "models"
    for version in ("1", "2", "3"):
        misbehaving_models.publish(models, version, misbehaving_models.good())
    under = stage()
    with controlled(under, models) as worker:
        under.send(PART)
        under.until(lambda: under.scores() == PART, 60, "version 1 scores")
        for number, plan in enumerate(PLANS, 1):
            under.sending(PART, 1_500)
            under.until(lambda part=number: under.scores() > part * PART, 30, "some are scored")  # type: ignore[misc]
            worker.apply(**plan)
            under.until(lambda part=number: under.scores() == (part + 1) * PART, 60, f"{plan}: all are scored")  # type: ignore[misc]
        before = ends(under, under.pipeline.scores.topic)
        under.send(PART)
        found = under.audit()
        assert found.ok, found
        assert (found.scores, found.dead_letters) == (EVENTS + PART, 0)
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
    """Fail unless the shadow's scores are those of version 2 beside the served ones, each event at most once."""
    decode, seen = decoder(SHADOW_SCORE), list[tuple[int, int]]()
    with TopicReader(under.kafka, [under.pipeline.shadow_scores]) as reader:
        for records in reader.catch_up():
            columns = decode(records).columns
            assert set(columns["model_version"].to_pylist()) == {"2"}
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
