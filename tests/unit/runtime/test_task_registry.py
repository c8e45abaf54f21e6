"""The ledger: what may be handed out, finished and committed, and what a rebalance makes of it."""

import numpy as np
import pytest

from pipeline.records import PartitionRecords, TaskId, TaskRecords, TopicPartition, large_binary
from pipeline.runtime.task_registry import TaskRegistry
from pipeline.runtime.task_state import TaskState

TOPIC = "events"


class World:
    """A ledger with a clock that stands still, and helpers to feed it."""

    def __init__(self) -> None:
        self.moves: list[tuple[TaskId, TaskState, TaskState]] = []
        self.ledger = TaskRegistry("stage", (TOPIC,), lambda: 0.0, lambda *move: self.moves.append(move))

    def running(self, *partitions: int, at: int = 0) -> None:
        """Gain and open these partitions."""
        for task_epoch in self.ledger.gain(partitions):
            assert self.ledger.open(task_epoch, {TopicPartition(TOPIC, task_epoch[0].partition): at})

    def epoch(self, partition: int) -> int:
        """Return the present epoch of a task."""
        return self.ledger._epochs[TaskId("stage", partition)]

    def piece(self, partition: int, first: int, rows: int, epoch: int | None = None, at_ms: int = 0) -> TaskRecords:
        """Make a slice of one run."""
        run = PartitionRecords(
            TopicPartition(TOPIC, partition),
            first + rows,
            np.arange(first, first + rows),
            np.full(rows, at_ms, dtype=np.int64),
            large_binary([None] * rows),
            large_binary([b""] * rows),
        )
        return TaskRecords(TaskId("stage", partition), self.epoch(partition) if epoch is None else epoch, (run,))


@pytest.fixture
def world() -> World:
    """A fresh world."""
    return World()


def test_a_task_runs_when_its_state_is_there(world: World) -> None:
    """Restoring counts as being there for nobody: nothing is handed out, and it is not opened a second time."""
    (task_epoch,) = world.ledger.gain([0])
    start = {TopicPartition(TOPIC, 0): 5}

    assert world.ledger.restore(task_epoch)

    assert world.ledger.opening(task_epoch) is None
    assert world.ledger.restoring(task_epoch)
    assert not world.ledger.running()
    assert not world.ledger.hand_out([world.piece(0, 5, 1)])[0]
    assert world.ledger.open(task_epoch, start)
    assert not world.ledger.restoring(task_epoch)
    assert not world.ledger.restore(task_epoch)
    assert world.ledger.standing() == {task_epoch: start}


def test_a_task_may_be_taken_away_while_it_is_restored(world: World) -> None:
    """It is closed at once, and what its restore comes to opens nothing; an abort leaves it where it is."""
    (task_epoch,) = world.ledger.gain([0])
    world.ledger.restore(task_epoch)

    assert world.ledger.rewind() == []
    world.ledger.revoke([0])

    assert not world.ledger.restoring(task_epoch)
    assert not world.ledger.open(task_epoch, {TopicPartition(TOPIC, 0): 5})


def test_a_commit_covers_what_is_finished_and_nothing_else(world: World) -> None:
    """Finished work is in the commitment; work that is only handed out is not."""
    world.running(0, 1)
    done, _ = world.ledger.hand_out([world.piece(0, 0, 5)])
    world.ledger.hand_out([world.piece(1, 0, 7)])
    assert world.ledger.finish(done)

    commitment = world.ledger.commitment()
    world.ledger.committed(commitment)

    assert list(commitment.values()) == [{TopicPartition(TOPIC, 0): 5}]
    assert not world.ledger.outstanding([0])
    assert world.ledger.outstanding([1])


def test_slices_of_an_older_epoch_vanish_whole(world: World) -> None:
    """What was fetched before a task went back is never handed out."""
    world.running(0)
    old = world.piece(0, 0, 5)
    world.ledger.hand_out([old])
    (task_epoch,) = world.ledger.rewind()
    world.ledger.open(task_epoch, {TopicPartition(TOPIC, 0): 0})

    work, broken = world.ledger.hand_out([world.piece(0, 5, 5, epoch=old.epoch)])

    assert not work.slices
    assert not broken


def test_work_that_became_stale_is_not_finished(world: World) -> None:
    """A batch whose task was lost while it was computed changes nothing, also not for its other tasks."""
    world.running(0, 1)
    work, _ = world.ledger.hand_out([world.piece(0, 0, 5), world.piece(1, 0, 5)])

    assert world.ledger.lose([0])
    assert not world.ledger.finish(work)
    assert not world.ledger.commitment()
    assert [task_epoch[0].partition for task_epoch in world.ledger.rewind()] == [1]


def test_outputs_that_the_offsets_leave_out_are_never_committed(world: World) -> None:
    """The second work of a task is finished and the first is not: a commit would make its outputs come twice."""
    world.running(0)
    world.ledger.hand_out([world.piece(0, 0, 5)])
    second, _ = world.ledger.hand_out([world.piece(0, 5, 5)])
    assert world.ledger.in_flight == 10
    assert world.ledger.finish(second)

    with pytest.raises(ValueError, match="out of order"):
        world.ledger.commitment()


def test_after_an_abort_every_task_that_runs_goes_back(world: World) -> None:
    """Also one with nothing outstanding: what was committed last is asked for again."""
    world.running(0, 1)
    world.ledger.hand_out([world.piece(0, 0, 5)])

    assert [task_epoch[0].partition for task_epoch in world.ledger.rewind()] == [0, 1]


def test_a_task_that_is_given_up_gets_nothing_more_but_finishes_what_it_has(world: World) -> None:
    """Between the revocation and the commit, work in flight goes on and new work is refused."""
    world.running(0)
    work, _ = world.ledger.hand_out([world.piece(0, 0, 5)])
    world.ledger.revoke([0])

    more, _ = world.ledger.hand_out([world.piece(0, 5, 5)])

    assert not more.slices
    assert world.ledger.finish(work)
    world.ledger.committed(world.ledger.commitment())
    assert not world.ledger.close([0])


def test_tasks_that_stay_are_not_touched_by_a_rebalance(world: World) -> None:
    """A rebalance is a difference: epochs and progress of the kept tasks stay as they are."""
    world.running(0, 1)
    work, _ = world.ledger.hand_out([world.piece(1, 0, 5)])
    before = world.epoch(1)

    world.ledger.revoke([0])
    world.ledger.close([0])
    world.ledger.gain([2])

    assert world.epoch(1) == before
    assert world.ledger.finish(work)


def test_an_epoch_never_comes_twice(world: World) -> None:
    """A partition that leaves and returns is a new life: slices of the old one stay void."""
    world.running(0)
    old = world.piece(0, 0, 5)
    world.ledger.lose([0])
    world.running(0)

    assert world.epoch(0) > old.epoch
    assert not world.ledger.hand_out([old])[0].slices


def test_records_that_do_not_follow_send_the_task_back(world: World) -> None:
    """Records from before the position mean that the reading went wrong: the task is opened again."""
    world.running(0, at=10)

    work, broken = world.ledger.hand_out([world.piece(0, 3, 2)])

    assert not work.slices
    assert [task_epoch[0].partition for task_epoch in broken] == [0]
    assert world.moves[-1] == (TaskId("stage", 0), TaskState.RUNNING, TaskState.OPENING)


def test_an_opening_that_comes_too_late_is_ignored(world: World) -> None:
    """A task that was lost while it was opened does not come to life."""
    (task_epoch,) = world.ledger.gain([0])
    world.ledger.lose([0])

    assert not world.ledger.open(task_epoch, {TopicPartition(TOPIC, 0): 0})


def test_the_oldest_record_of_each_source_is_known_until_it_is_committed(world: World) -> None:
    """Of what was handed out; committed offsets stand beside it."""
    world.running(0, 1, at=3)
    first, _ = world.ledger.hand_out([world.piece(0, 5, 2, at_ms=50)])
    world.ledger.hand_out([world.piece(0, 7, 2, at_ms=70)])
    assert world.ledger.standings() == {TopicPartition(TOPIC, 0): (3, (5, 50)), TopicPartition(TOPIC, 1): (3, None)}
    assert world.ledger.finish(first)
    assert world.ledger.standings()[TopicPartition(TOPIC, 0)] == (3, (5, 50))
    world.ledger.committed(world.ledger.commitment())
    assert world.ledger.standings()[TopicPartition(TOPIC, 0)] == (7, (7, 70))
    world.ledger.rewind()
    assert world.ledger.standings() == {}
