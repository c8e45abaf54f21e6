"""pipeline.runtime.changelog_restorer: the thread that restores, step by step, with a broker that is played."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message

from pipeline.records import TaskEpoch, TaskId, TopicPartition
from pipeline.runtime.changelog_restorer import AGAIN_SECONDS, ChangelogRestorer
from pipeline.settings import KafkaSettings
from pipeline.state.state_manager import StateDirectory, StateManager, StateSpec
from pipeline.state.store import Store
from pipeline.telemetry.exposition_parser import sample_total
from pipeline.telemetry.metrics import Metrics
from tests.unit.lag.clocks import SetClock
from tests.unit.state.stores import FORMATS, SHAPES

LIFE: TaskEpoch = (TaskId("payments", 3), 1)
STARTS = {TopicPartition("payments.events", 3): 10}
KEPT = StateSpec(
    "payments", 12, FORMATS, SHAPES, {"cards": "cards.changelog", "shops": "shops.changelog"}, dict.fromkeys(SHAPES, "")
)


class Stage:
    """A restorer whose changelogs end at ``high``, and what it asks and tells."""

    def __init__(self, folder: Path, high: int) -> None:
        self.vault = StateManager(StateDirectory(folder, "w"), KEPT, 64)
        self.wanted = {LIFE}
        self.restored: list[TaskEpoch] = []
        self.clock = SetClock()
        self.metrics = Metrics()
        self.restorer = ChangelogRestorer(
            KafkaSettings(),
            self.vault,
            client_id="w",
            share=0.5,
            wanted=self.wanted.__contains__,
            moved=lambda _: None,
            restored=lambda task_epoch, _: self.restored.append(task_epoch),
            running=lambda: 0.0,
            clock=self.clock,
            metrics=self.metrics,
            beat=lambda: None,
            on_failure=lambda _: None,
        )
        quiet: Any = SimpleNamespace(
            get_watermark_offsets=lambda *_, **__: (0, high),
            incremental_assign=lambda _: None,
            incremental_unassign=lambda _: None,
            poll=lambda _: None,
        )
        self.restorer._ask = self.restorer._make = lambda: quiet

    def step(self) -> None:
        """Let the restorer do what it does again and again."""
        self.clock.at += AGAIN_SECONDS
        self.restorer._arrived(0.0)
        self.restorer._forsake()
        self.restorer._begin_due()
        if self.restorer._jobs:
            self.restorer._advance()

    @property
    def left(self) -> float:
        """What the worker's page says of offsets that are still to be read."""
        return sample_total(self.metrics.expose()[0].decode(), "surgetank_restore_remaining_records")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A restorer that has nothing to read."""
    stage = Stage(tmp_path, 0)
    yield stage
    stage.vault.stop(10)


def test_a_disk_that_shows_its_damage_by_its_positions_is_restored_anew(stage: Stage, tmp_path: Path) -> None:
    """The store opens, for what it was made for can be read: the worker goes on, as it does after other damage."""
    store = stage.vault.open(LIFE)
    store.flush()
    store.write({}, {"payments.events": 10})
    stage.vault.close([LIFE[0]])
    stage.vault._closing[LIFE[0]].result()
    newest = max(tmp_path.glob("w/3/*.sst"))
    newest.write_bytes(newest.read_bytes().replace(b"position", b"noise..."))

    stage.restorer.restore(LIFE, STARTS)
    stage.step()
    stage.step()

    assert stage.restored == [LIFE]
    assert stage.vault.current(LIFE, STARTS)


def test_what_is_left_is_nothing_once_the_task_is_given_up(tmp_path: Path) -> None:
    """A worker that restores nothing any more does not look as if it did not come on."""
    stage = Stage(tmp_path, 700)
    stage.restorer.restore(LIFE, STARTS)
    stage.step()
    assert stage.left == 2 * 700

    stage.wanted.clear()
    stage.step()

    assert stage.left == 0
    stage.vault.stop(10)


def test_a_task_that_is_given_up_while_it_is_opened_is_not_kept_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its store would take the memory of those that are this worker's."""
    opened = stage.vault.open

    def slow(task_epoch: TaskEpoch) -> Store:
        store = opened(task_epoch)
        stage.wanted.clear()
        return store

    monkeypatch.setattr(stage.vault, "open", slow)
    stage.restorer.restore(LIFE, STARTS)
    stage.step()

    assert stage.restored == []
    assert not stage.vault._held


def test_an_error_that_is_of_no_partition_ends_nobody(tmp_path: Path) -> None:
    """As where the group of a client is refused, which it never joins."""
    stage = Stage(tmp_path, 7)
    stage.restorer.restore(LIFE, STARTS)
    stage.step()

    stage.restorer._take([Message(error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)), *map(end, KEPT.changelogs)])

    assert stage.restored == [LIFE]
    stage.vault.stop(10)


def end(table: str) -> Message:
    """Return what a consumer gives at the end of a changelog."""
    return Message(topic=KEPT.changelogs[table], partition=3, offset=7, error=KafkaError(KafkaError._PARTITION_EOF))
