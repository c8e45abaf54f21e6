"""State that is exported here and imported there: a worker goes on from it, and nothing is wrong. Real brokers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from surgetank.records import TopicPartition
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import IN_PLAY
from tests.support.stateful_pipeline import ENVIRONMENT, Remembered, changelog_records, restored

EVENTS = 100_000
ROOT = Path(__file__).resolve().parents[2]

RememberedFactory = Callable[..., Remembered]


@pytest.fixture
def remembered(kafka: KafkaUnderTest, tmp_path: Path) -> Iterator[RememberedFactory]:
    """Return a function that sets a stage with memory, its topics made; little of its state fits in memory."""
    with ExitStack() as leaving:

        def make(**settings: object) -> Remembered:
            given = IN_PLAY | {"state.memory_mib": 16} | settings
            folder = tmp_path / f"stage-{len(list(tmp_path.iterdir()))}"
            new = leaving.enter_context(Remembered(kafka.settings, folder, settings=given))
            new.apply_topics()
            return new

        yield make


def state(under: Remembered, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `surgetank state` for the pipeline under test."""
    command = [sys.executable, "-m", "surgetank.cli", "state", words[0], under.topology, *words[1:]]
    settings = {"SURGETANK_STATE__DIRECTORY": str(under.folder / "state"), ENVIRONMENT: under.prefix}
    return subprocess.run(
        [*command, "--bootstrap", under.kafka.bootstrap, "--json"],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_snapshot_of_a_worker_under_load_saves_another_the_restoring(remembered: RememberedFactory) -> None:
    """Exported in mid-stream, imported for another worker: that reads what came later, to the record, and no more."""
    under = remembered()
    out = str(under.folder / "out")
    under.send(EVENTS)
    first = under.worker(name="here")
    assert under.audit().ok
    replay = under.sending(EVENTS, 2_000)
    under.until(lambda: replay.acknowledged > 2_000, 30, "events flow")

    exported = state(under, "export", out)

    assert exported.returncode == 0, exported.stderr
    assert replay.acknowledged < EVENTS, "the worker was not under load any more"
    tasks = json.loads(exported.stdout)["tasks"]
    assert [task["task"] for task in tasks] == [0, 1, 2, 3]
    refused = state(under, "import", out, "--worker", "here")
    assert refused.returncode == 1
    assert "is in use by another process" in refused.stderr
    under.fleet.kill(first)
    replay.stop()

    imported = state(under, "import", out, "--worker", "there")

    assert imported.returncode == 0, imported.stderr
    reached = {TopicPartition(topic, task["task"]): at for task in tasks for topic, at in task["positions"].items()}
    later = changelog_records(under, reached)
    assert 0 < later < changelog_records(under) * 0.6
    second = under.worker(name="there")
    found = under.audit()
    assert found.ok, found
    assert restored(second) == later
    (told,) = json.loads(state(under, "restoring").stdout)["workers"]
    assert (told["tasks"], told["restored"], told["remaining"]) == (0, later, 0)
    assert "dropped" not in second.log.read_text()
    under.check_states()
    under.check_scores()


def test_a_snapshot_is_imported_only_where_it_belongs(remembered: RememberedFactory) -> None:
    """Not in the place of state that is there, unless told so; not for another pipeline; not when damaged."""
    under, other = remembered(), remembered()
    out = under.folder / "out"
    under.send(EVENTS // 4)
    worker = under.worker(name="here")
    assert under.audit().ok
    assert under.fleet.stop(worker) == 0
    assert state(under, "export", str(out)).returncode == 0

    there = state(under, "import", str(out), "--worker", "here")
    elsewhere = state(other, "import", str(out))
    (file, *_) = sorted((out / "2").glob("*.sst"))
    content = file.read_bytes()
    file.unlink()  # it shares its bytes with the worker's
    file.write_bytes(content[:-1] + b"?")
    damaged = state(under, "import", str(out), "--worker", "here", "--replace")

    assert (there.returncode, "already has state of task 0, 1, 2, 3" in there.stderr) == (1, True)
    assert (elsewhere.returncode, "not of" in elsewhere.stderr) == (2, True)
    assert (damaged.returncode, "does not have the checksum" in damaged.stderr) == (1, True)
    file.write_bytes(content)
    assert state(under, "import", str(out), "--worker", "here", "--replace").returncode == 0
    again = under.worker(name="here")
    assert restored(again) == 0
    under.send(EVENTS // 4)
    assert under.audit().ok
    under.check_states()
