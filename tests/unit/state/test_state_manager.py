"""pipeline.state.state_manager: the stores of a worker's tasks, and when what they hold may be believed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StateClosed, StateError
from pipeline.migration.partition_history import stayed
from pipeline.records import TaskEpoch, TaskId, TopicPartition, large_binary
from pipeline.state.state_directory import StateDirectory
from pipeline.state.state_manager import StateManager
from pipeline.state.state_spec import StateSpec
from tests.unit.state.stores import FORMATS, SHAPES

TASK = TaskId("payments", 3)
LIFE: TaskEpoch = TaskEpoch(TASK, 1)
SOURCE = TopicPartition("payments.events", 3)
LOG = "payments.cards.changelog"
KEPT = StateSpec("payments", 12, FORMATS, SHAPES, {"cards": LOG, "shops": "payments.shops.changelog"}, {}, {}, stayed)


def made(folder: Path, name: str = "w") -> StateManager:
    """Return a vault of the worker of that name."""
    return StateManager(StateDirectory(folder, name), KEPT, 64)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[StateManager]:
    """A vault whose task is restored: it holds what was committed up to offset 10."""
    vault = made(tmp_path)
    vault.open(LIFE).write({}, {SOURCE.topic: 10})
    assert vault.install(LIFE)
    yield vault
    vault.stop(10)


def write(vault: StateManager, number: float, task_epoch: TaskEpoch = LIFE) -> int:
    """Write a row of cards, uncommitted; return the number of the write."""
    tables = vault.tables(task_epoch)
    assert tables is not None
    written = tables["cards"].write(large_binary([b"a"]), np.array([[number, 0.0, 0.0]]), 0, task_epoch[1])
    assert written is not None
    return written.number


def number(vault: StateManager, task_epoch: TaskEpoch = LIFE) -> float:
    """Return what the row says."""
    tables = vault.tables(task_epoch)
    assert tables is not None
    return float(tables["cards"].read(large_binary([b"a"]))[0, 0])


def test_what_is_committed_comes_to_the_disk_with_its_positions(vault: StateManager, tmp_path: Path) -> None:
    """After a commit the store is current at the new offset, also for the next process of that name."""
    through = write(vault, 5)

    vault.commit({LIFE: {SOURCE: 20}}, {LIFE: through}, {(LOG, 3): 77, (LOG, 4): 99})

    assert vault.current(LIFE, {SOURCE: 20})
    assert not vault.current(LIFE, {SOURCE: 21})
    vault.stop(10)
    again = made(tmp_path)
    assert again.open(TaskEpoch(TASK, 1)).positions() == {SOURCE.topic: 20, LOG: 77}
    assert again.install(TaskEpoch(TASK, 1))
    assert number(again) == 5
    again.stop(10)


def test_a_task_that_goes_back_keeps_its_store_and_loses_what_was_open(vault: StateManager) -> None:
    """The next epoch sees what is committed; the old one has no tables, and is not written for."""
    through = write(vault, 5)
    later: TaskEpoch = TaskEpoch(TASK, 2)

    vault.drop([later])
    vault.commit({LIFE: {SOURCE: 20}}, {LIFE: through}, {})

    assert vault.tables(LIFE) is None
    assert vault.current(later, {SOURCE: 10})
    assert np.isnan(number(vault, later))


def test_a_store_that_fell_behind_is_not_current(vault: StateManager) -> None:
    """A commit whose task went back meanwhile leaves the disk behind: it must be made good, not believed."""
    vault.drop([TaskEpoch(TASK, 2)])

    assert not vault.current(TaskEpoch(TASK, 2), {SOURCE: 20})


def test_a_condemned_store_is_made_anew(vault: StateManager) -> None:
    """Nobody gets its tables any more; opened again it is empty."""
    vault.commit({LIFE: {SOURCE: 20}}, {LIFE: write(vault, 5)}, {})

    vault.mark_corrupted(3, "a block was not what it was")

    assert vault.tables(LIFE) is None
    assert not vault.current(LIFE, {SOURCE: 20})
    assert vault.open(TaskEpoch(TASK, 2)).positions() == {}


def test_a_store_that_is_given_back_is_not_made_anew_meanwhile(vault: StateManager) -> None:
    """Its folder is in use until it is closed."""
    vault.close([TASK])

    with pytest.raises(StateClosed):
        vault.renew(LIFE, "it includes more than is committed")

    assert vault.open(TaskEpoch(TASK, 2)).positions() == {SOURCE.topic: 10}


def test_a_task_that_is_given_up_and_comes_back_finds_its_disk(vault: StateManager) -> None:
    """Closing goes on elsewhere; who opens the same task waits for it."""
    vault.commit({LIFE: {SOURCE: 20}}, {LIFE: write(vault, 5)}, {})

    vault.close([TASK])

    assert vault.tables(LIFE) is None
    assert vault.open(TaskEpoch(TASK, 2)).positions() == {SOURCE.topic: 20}
    assert vault.install(TaskEpoch(TASK, 2))
    assert number(vault, TaskEpoch(TASK, 2)) == 5


def test_a_store_of_other_rows_is_dropped(
    vault: StateManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a table is declared otherwise now, the store is deleted, and that is said."""
    vault.stop(10)
    kept = StateSpec(
        "payments", 12, {"cards": FORMATS["cards"]}, {"cards": SHAPES["cards"]}, {"cards": LOG}, {}, {}, stayed
    )
    other = StateManager(StateDirectory(tmp_path, "w"), kept, 64)

    assert other.open(LIFE).positions() == {}

    assert "rows of shops of another declaration" in caplog.text
    other.stop(10)


def test_two_workers_never_share_a_folder(tmp_path: Path) -> None:
    """Without a name each takes a folder that nobody has, one that was let go too; a name is one worker's own."""
    first, second = StateDirectory(tmp_path, ""), StateDirectory(tmp_path, "")
    assert first.folder != second.folder
    first.release()
    assert StateDirectory(tmp_path, "").folder == first.folder
    named = StateDirectory(tmp_path, "me/../you")
    assert named.folder.parent == tmp_path
    with pytest.raises(StateError, match="in use by another process"):
        StateDirectory(tmp_path, "me/../you")


def test_memory_is_shared_among_the_tasks_that_are_open(tmp_path: Path) -> None:
    """Each task that comes leaves less for the others, so that together they keep the budget."""
    vault = made(tmp_path)
    vault.open(TaskEpoch(TaskId("payments", 0), 1))
    alone = vault._memory.budget
    for partition in range(1, 8):
        vault.open(TaskEpoch(TaskId("payments", partition), 1))

    assert vault._memory.budget.rows < alone.rows
    vault.close([TaskId("payments", partition) for partition in range(1, 8)])
    assert vault._memory.budget == alone
    vault.stop(10)
