"""surgetank.state.state_manager: the stores of a worker's tasks, and when what they hold may be believed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from surgetank.errors import StateClosed, StateError
from surgetank.migration.partition_history import unmoved_keys
from surgetank.records import TaskEpoch, TaskId, TopicPartition, large_binary
from surgetank.state.state_directory import StateDirectory
from surgetank.state.state_manager import StateManager
from surgetank.state.state_spec import StateSpec
from tests.unit.state.stores import FORMATS, SHAPES

TASK = TaskId("payments", 3)
LIFE: TaskEpoch = TaskEpoch(TASK, 1)
SOURCE = TopicPartition("payments.events", 3)
LOG = "payments.cards.changelog"
KEPT = StateSpec(
    "payments", 12, FORMATS, SHAPES, {"cards": LOG, "shops": "payments.shops.changelog"}, {}, {}, unmoved_keys
)


def made(folder: Path, name: str = "w") -> StateManager:
    """Return a state_manager of the worker of that name."""
    return StateManager(StateDirectory(folder, name), KEPT, 64)


@pytest.fixture
def state_manager(tmp_path: Path) -> Iterator[StateManager]:
    """A state_manager whose task is restored: it holds what was committed up to offset 10."""
    state_manager = made(tmp_path)
    state_manager.open(LIFE).write({}, {SOURCE.topic: 10})
    assert state_manager.install(LIFE)
    yield state_manager
    state_manager.stop(10)


def write(state_manager: StateManager, number: float, task_epoch: TaskEpoch = LIFE) -> int:
    """Write a row of cards, uncommitted; return the number of the write."""
    tables = state_manager.tables(task_epoch)
    assert tables is not None
    written = tables["cards"].write(large_binary([b"a"]), np.array([[number, 0.0, 0.0]]), 0, task_epoch[1])
    assert written is not None
    return written.number


def number(state_manager: StateManager, task_epoch: TaskEpoch = LIFE) -> float:
    """Return what the row says."""
    tables = state_manager.tables(task_epoch)
    assert tables is not None
    return float(tables["cards"].read(large_binary([b"a"]))[0, 0])


def test_what_is_committed_comes_to_the_disk_with_its_positions(state_manager: StateManager, tmp_path: Path) -> None:
    """After a commit the store is current at the new offset, also for the next process of that name."""
    through = write(state_manager, 5)

    state_manager.commit({LIFE: {SOURCE: 20}}, {LIFE: through}, {(LOG, 3): 77, (LOG, 4): 99})

    assert state_manager.current(LIFE, {SOURCE: 20})
    assert not state_manager.current(LIFE, {SOURCE: 21})
    state_manager.stop(10)
    again = made(tmp_path)
    assert again.open(TaskEpoch(TASK, 1)).positions() == {SOURCE.topic: 20, LOG: 77}
    assert again.install(TaskEpoch(TASK, 1))
    assert number(again) == 5
    again.stop(10)


def test_a_task_that_goes_back_keeps_its_store_and_loses_what_was_open(state_manager: StateManager) -> None:
    """The next epoch sees what is committed; the old one has no tables, and is not written for."""
    through = write(state_manager, 5)
    later: TaskEpoch = TaskEpoch(TASK, 2)

    state_manager.drop([later])
    state_manager.commit({LIFE: {SOURCE: 20}}, {LIFE: through}, {})

    assert state_manager.tables(LIFE) is None
    assert state_manager.current(later, {SOURCE: 10})
    assert np.isnan(number(state_manager, later))


def test_a_store_that_fell_behind_is_not_current(state_manager: StateManager) -> None:
    """A commit whose task went back meanwhile leaves the disk behind: it must be made good, not believed."""
    state_manager.drop([TaskEpoch(TASK, 2)])

    assert not state_manager.current(TaskEpoch(TASK, 2), {SOURCE: 20})


def test_a_condemned_store_is_made_anew(state_manager: StateManager) -> None:
    """Nobody gets its tables any more; opened again it is empty."""
    state_manager.commit({LIFE: {SOURCE: 20}}, {LIFE: write(state_manager, 5)}, {})

    state_manager.mark_corrupted(3, "a block was not what it was")

    assert state_manager.tables(LIFE) is None
    assert not state_manager.current(LIFE, {SOURCE: 20})
    assert state_manager.open(TaskEpoch(TASK, 2)).positions() == {}


def test_a_store_that_is_given_back_is_not_made_anew_meanwhile(state_manager: StateManager) -> None:
    """Its folder is in use until it is closed."""
    state_manager.close([TASK])

    with pytest.raises(StateClosed):
        state_manager.renew(LIFE, "it includes more than is committed")

    assert state_manager.open(TaskEpoch(TASK, 2)).positions() == {SOURCE.topic: 10}


def test_a_task_that_is_given_up_and_comes_back_finds_its_disk(state_manager: StateManager) -> None:
    """Closing goes on elsewhere; who opens the same task waits for it."""
    state_manager.commit({LIFE: {SOURCE: 20}}, {LIFE: write(state_manager, 5)}, {})

    state_manager.close([TASK])

    assert state_manager.tables(LIFE) is None
    assert state_manager.open(TaskEpoch(TASK, 2)).positions() == {SOURCE.topic: 20}
    assert state_manager.install(TaskEpoch(TASK, 2))
    assert number(state_manager, TaskEpoch(TASK, 2)) == 5


def test_a_store_of_other_rows_is_dropped(
    state_manager: StateManager, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a table is declared otherwise now, the store is deleted, and that is said."""
    state_manager.stop(10)
    kept = StateSpec(
        "payments", 12, {"cards": FORMATS["cards"]}, {"cards": SHAPES["cards"]}, {"cards": LOG}, {}, {}, unmoved_keys
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
    state_manager = made(tmp_path)
    state_manager.open(TaskEpoch(TaskId("payments", 0), 1))
    alone = state_manager._memory.budget
    for partition in range(1, 8):
        state_manager.open(TaskEpoch(TaskId("payments", partition), 1))

    assert state_manager._memory.budget.rows < alone.rows
    state_manager.close([TaskId("payments", partition) for partition in range(1, 8)])
    assert state_manager._memory.budget == alone
    state_manager.stop(10)
