"""surgetank.runtime.changelog_restorer: the thread that restores, step by step, with a broker that is played."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, Message

from surgetank.errors import StateMismatch
from surgetank.migration.partition_history import PartitionEra as Era
from surgetank.migration.partition_history import PartitionHistory, unmoved_keys
from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime.changelog_restorer import AGAIN_SECONDS, ChangelogRestorer
from surgetank.settings import KafkaSettings
from surgetank.state.changelog import PARTITION_HISTORY
from surgetank.state.state_directory import StateDirectory
from surgetank.state.state_manager import StateManager
from surgetank.state.state_spec import StateSpec
from surgetank.state.store import Store
from surgetank.telemetry.exposition_parser import sample_total
from surgetank.telemetry.metrics import Metrics
from tests.unit.lag.clocks import SetClock
from tests.unit.state.stores import CARDS, FORMATS, SHAPES

LIFE = TaskEpoch(TaskId("payments", 3), 1)
STARTS = {TopicPartition("payments.events", 3): 10}
SOURCE = TopicPartition("payments.events", 3)
KEPT = StateSpec(
    "payments",
    12,
    FORMATS,
    SHAPES,
    {"cards": "cards.changelog", "shops": "shops.changelog"},
    dict.fromkeys(SHAPES, ""),
    dict.fromkeys(SHAPES, "payments.events"),
    unmoved_keys,
)


class Stage:
    """A restorer whose changelogs end at ``high``, and what it asks and tells."""

    def __init__(self, folder: Path, high: int) -> None:
        self.state_manager = StateManager(StateDirectory(folder, "w"), KEPT, 64)
        self.wanted = {LIFE}
        self.committed: dict[TopicPartition, int] | None = dict(STARTS)
        self.restored: list[TaskEpoch] = []
        self.clock = SetClock()
        self.metrics = Metrics()
        self.restorer = ChangelogRestorer(
            KafkaSettings(),
            self.state_manager,
            client_id="w",
            share=0.5,
            committed=lambda *_: self.committed,
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
    stage.state_manager.stop(10)


def test_a_disk_that_shows_its_damage_by_its_positions_is_restored_anew(stage: Stage, tmp_path: Path) -> None:
    """The store opens, for what it was made for can be read: the worker goes on, as it does after other damage."""
    store = stage.state_manager.open(LIFE)
    store.flush()
    store.write({}, {"payments.events": 10})
    stage.state_manager.close([LIFE[0]])
    stage.state_manager._closing[LIFE[0]].result()
    newest = max(tmp_path.glob("w/3/*.sst"))
    newest.write_bytes(newest.read_bytes().replace(b"position", b"noise..."))

    stage.restorer.restore(LIFE, STARTS)
    stage.step()
    stage.step()

    assert stage.restored == [LIFE]
    assert stage.state_manager.current(LIFE, STARTS)


def test_what_is_left_is_nothing_once_the_task_is_given_up(tmp_path: Path) -> None:
    """A worker that restores nothing any more does not look as if it did not come on."""
    stage = Stage(tmp_path, 700)
    stage.restorer.restore(LIFE, STARTS)
    stage.step()
    assert stage.left == 2 * 700

    stage.wanted.clear()
    stage.step()

    assert stage.left == 0
    stage.state_manager.stop(10)


def test_a_task_that_is_given_up_while_it_is_opened_is_not_kept_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its store would take the memory of those that are this worker's."""
    opened = stage.state_manager.open

    def slow(task_epoch: TaskEpoch) -> Store:
        store = opened(task_epoch)
        stage.wanted.clear()
        return store

    monkeypatch.setattr(stage.state_manager, "open", slow)
    stage.restorer.restore(LIFE, STARTS)
    stage.step()

    assert stage.restored == []
    assert not stage.state_manager._entries


def test_an_error_that_is_of_no_partition_ends_nobody(tmp_path: Path) -> None:
    """As where the group of a client is refused, which it never joins."""
    stage = Stage(tmp_path, 7)
    stage.restorer.restore(LIFE, STARTS)
    stage.step()

    stage.restorer._take([Message(error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)), *map(end, KEPT.changelogs)])

    assert stage.restored == [LIFE]
    stage.state_manager.stop(10)


def end(table: str) -> Message:
    """Return what a consumer gives at the end of a changelog."""
    return Message(topic=KEPT.changelogs[table], partition=3, offset=7, error=KafkaError(KafkaError._PARTITION_EOF))


def record(key: bytes, value: bytes | None, offset: int) -> Message:
    """Return a record of the changelog of cards."""
    return Message(topic=KEPT.changelogs["cards"], partition=3, offset=offset, key=key, value=value)


def row(source_offset: int) -> bytes:
    """Return a row of cards that includes the event at this offset last."""
    packed: bytes = CARDS.pack(np.zeros((1, 3)), source_offset)[0].as_py()
    return packed


def restored_from(stage: Stage, *messages: Message) -> None:
    """Let the task be restored from these records of cards, and from no shops."""
    stage.restorer.restore(LIFE, STARTS)
    stage.step()
    stage.restorer._take([*messages, *map(end, KEPT.changelogs)])


@pytest.fixture
def seven(tmp_path: Path) -> Iterator[Stage]:
    """A restorer whose changelogs end at offset 7. The task goes on from event 10."""
    stage = Stage(tmp_path, 7)
    yield stage
    stage.state_manager.stop(10)


def test_state_that_includes_events_to_be_read_again_is_refused(seven: Stage) -> None:
    """They would count twice; the error says from where to where, and what can be done."""
    with pytest.raises(StateMismatch, match=r"payments.events\[3\] up to 13, but starts at 10.*--from-events"):
        restored_from(seven, record(b"a", row(9), 0), record(b"b", row(12), 1), record(b"c", row(10), 2))

    assert seven.restored == []


def test_events_that_only_lie_before_the_start_are_no_reason(seven: Stage) -> None:
    """The last event that counts is that right before the offset that is committed."""
    restored_from(seven, record(b"a", row(9), 0))

    assert seven.restored == [LIFE]


def test_rows_that_were_rewritten_or_forgotten_since_do_not_count(seven: Stage) -> None:
    """As after `surgetank state rebuild`: the last record of each key is what the state is."""
    later = [record(b"a", row(12), 0), record(b"b", row(12), 1), record(b"a", row(8), 2), record(b"b", None, 3)]

    restored_from(seven, *later)

    assert seven.restored == [LIFE]


def test_rows_that_came_from_another_partition_do_not_count(seven: Stage) -> None:
    """After a reshard a row may carry an offset of the partition from which it came."""
    growth = PartitionHistory("crc32", (Era(2, {"payments.events": (50, 50)}),))
    restored_from(seven, record(PARTITION_HISTORY, growth.dump(), 0), record(b"moved", row(40), 1))

    assert seven.restored == [LIFE]


@pytest.mark.parametrize("committed", [None, {SOURCE: 13}])
def test_a_task_that_another_worker_has_gone_on_with_is_no_fault(
    seven: Stage, committed: dict[TopicPartition, int] | None
) -> None:
    """Its rows may be here before this worker is told that it is no owner any more: it restores again until then."""
    seven.committed = committed

    restored_from(seven, record(b"b", row(12), 1))

    assert seven.restored == []
    assert [job.task_epoch for job in seven.restorer._waiting] == [LIFE]


def test_a_refusal_rests_on_whole_changelogs(seven: Stage) -> None:
    """Where only the end was read, all is read again, since what lies before says how keys moved."""
    seven.state_manager.open(LIFE).write({}, {SOURCE.topic: 9, KEPT.changelogs["cards"]: 5})

    restored_from(seven, record(b"b", row(12), 5))

    assert seven.restored == []
    with pytest.raises(StateMismatch):
        restored_from(seven, record(b"b", row(12), 5))


def test_what_a_restore_that_is_cut_short_wrote_is_not_trusted_further_back(seven: Stage) -> None:
    """Its store has no source positions yet, but rows that include more than is committed now."""
    store = seven.state_manager.open(LIFE)
    store.begin_restore({SOURCE.topic: 13})
    store.write({"cards": {b"b": row(12)}}, {KEPT.changelogs["cards"]: 5})

    seven.restorer.restore(LIFE, STARTS)
    seven.step()

    assert seven.state_manager.open(LIFE).scan("cards", None, 9) == []
    assert seven.left == 2 * 7
