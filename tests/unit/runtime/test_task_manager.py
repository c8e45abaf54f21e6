"""The task manager, one decision at a time."""

import pytest

from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime import task_actions as act
from surgetank.runtime import task_events as on
from surgetank.runtime.task_actions import ManagerAction
from surgetank.runtime.task_events import RecordSpan
from surgetank.runtime.task_manager import TaskManager
from surgetank.runtime.task_state import TaskState
from tests.support.worker_model import ME, OTHER

TASK, TWIN = TaskId("scoring", 0), TaskId("scoring", 1)
ELSEWHERE = TaskId("second", 0)
SOURCE = TopicPartition("events", 0)


@pytest.fixture
def manager() -> TaskManager:
    """A manager without tasks, of two pipelines."""
    return TaskManager(
        {"scoring": ("events",), "second": ("others",)},
        identity=ME,
        interval_seconds=0.1,
        batch_rows_max=lambda: 100,
        close_deadline_seconds=10.0,
    )


def shown(actions: list[ManagerAction]) -> list[str]:
    """Return the kinds of actions, without reports of transitions."""
    return [type(action).__name__ for action in actions if not isinstance(action, act.ReportTransition)]


def start(manager: TaskManager, *tasks: TaskId, at: int = 0) -> tuple[TaskEpoch, ...]:
    """Let tasks run that this worker owned before."""
    manager.handle(on.PartitionsAssigned(tasks), 0.0)
    keys = tuple(manager.tasks[task].key for task in tasks)
    manager.handle(on.OwnersFound({key: frozenset([ME]) for key in keys}, frozenset()), 0.0)
    manager.handle(on.TransactionsSettled(keys), 0.0)
    manager.handle(on.OffsetsResolved({key: dict.fromkeys(manager.tasks.sources([key.task]), at) for key in keys}), 0.0)
    for key in keys:
        manager.handle(on.StateRestored(key), 0.0)
    return keys


def hand_out(manager: TaskManager, *keys: TaskEpoch, first: int = 0, rows: int = 5) -> int:
    """Hand out a batch of the same rows of each task; return its number."""
    offered = []
    for key in keys:
        (source,) = manager.tasks.sources([key.task])
        offered.append((key, (RecordSpan(source, first, first + rows, rows, 0),)))
    (batch,) = manager.handle(on.RecordsFetched(tuple(offered)), 1.0)
    assert isinstance(batch, act.ProcessBatch)
    return batch.batch


def produce(manager: TaskManager, *keys: TaskEpoch, now: float = 1.0) -> list[ManagerAction]:
    """Bring a batch of each task into the open transaction; return what follows."""
    batch = hand_out(manager, *keys)
    assert manager.handle(on.BatchComputed(batch, usable=True), now) == [act.ProduceBatch(batch)]
    return manager.handle(on.BatchProduced(batch, waiting_rows=0), now)


def test_a_task_of_a_dead_owner_is_fenced_settled_claimed_restored_and_then_fetched(manager: TaskManager) -> None:
    """Each step begins when the one before has its answer, and fetching comes last."""
    (_, find) = manager.handle(on.PartitionsAssigned((TASK,)), 0.0)
    key = TaskEpoch(TASK, 1)
    offsets = {SOURCE: 7}

    assert find == act.FindOwners((key,))
    owners = on.OwnersFound({key: frozenset([OTHER])}, frozenset([OTHER]))
    assert manager.handle(owners, 0.0) == [act.FenceOwner(OTHER, (key,))]
    (settle,) = manager.handle(on.OwnerFenced(OTHER, (key,)), 0.0)
    assert settle == act.SettleTransactions((key,), frozenset(), frozenset([TASK]))
    assert manager.handle(on.TransactionsSettled((key,)), 0.0) == [act.ResolveOffsets((key,))]
    assert manager.handle(on.OffsetsResolved({key: offsets}), 0.0) == [act.CommitTransaction()]
    (send,) = manager.handle(on.CommitReady(), 0.0)
    assert send == act.SendOffsets(1, {}, {key: offsets})
    assert manager.handle(on.TransactionCommitted(1), 0.0) == [act.RestoreState(key, offsets)]
    (_, fetch) = manager.handle(on.StateRestored(key), 0.0)
    assert fetch == act.StartFetching(key, offsets)


def test_tasks_of_several_pipelines_have_their_own_partitions(manager: TaskManager) -> None:
    """The same number in two pipelines is two tasks."""
    keys = start(manager, TASK, ELSEWHERE, at=3)

    assert {task.id for task in manager.tasks} == {TASK, ELSEWHERE}
    assert manager.tasks.positions() == {SOURCE: (3, None), TopicPartition("others", 0): (3, None)}
    manager.handle(on.PartitionsLost((TASK,)), 1.0)
    assert [task.key for task in manager.tasks] == [keys[1]]


def test_an_answer_of_an_earlier_epoch_changes_nothing(manager: TaskManager) -> None:
    """A task that left and came back does not take the answers that it was owed before."""
    manager.handle(on.PartitionsAssigned((TASK,)), 0.0)
    old = manager.tasks[TASK].key
    manager.handle(on.PartitionsLost((TASK,)), 0.0)
    manager.handle(on.PartitionsAssigned((TASK,)), 0.0)

    assert manager.handle(on.OwnersFound({old: frozenset()}, frozenset()), 0.0) == []
    assert manager.handle(on.TransactionsSettled((old,)), 0.0) == []
    assert manager.handle(on.OffsetsResolved({old: {SOURCE: 0}}), 0.0) == []
    assert manager.handle(on.StateRestored(old), 0.0) == []
    assert manager.tasks[TASK].state is TaskState.OPENING


def test_a_revoked_task_is_closed_when_its_work_is_committed(manager: TaskManager) -> None:
    """The callback of the group waits for that; meanwhile nothing more of it is handed out."""
    (key,) = start(manager, TASK)
    batch = hand_out(manager, key)

    assert shown(manager.handle(on.PartitionsRevoked((TASK,)), 1.0)) == ["StopFetching"]
    assert not manager.released([TASK])
    offered = on.RecordsFetched(((key, (RecordSpan(SOURCE, 5, 6, 1, 0),)),))
    assert manager.handle(offered, 1.0) == []
    manager.handle(on.BatchComputed(batch, usable=True), 1.0)
    assert manager.handle(on.BatchProduced(batch, waiting_rows=0), 1.0) == [act.CommitTransaction()]
    (send,) = manager.handle(on.CommitReady(), 1.0)
    assert send == act.SendOffsets(1, {key: {SOURCE: 5}}, {})
    assert shown(manager.handle(on.TransactionCommitted(1), 1.0)) == ["StopFetching", "CloseStores"]
    assert manager.released([TASK])


def test_a_revoked_task_is_given_up_at_its_deadline_and_its_work_is_aborted(manager: TaskManager) -> None:
    """What cannot be committed in time must not be committed later."""
    (key,) = start(manager, TASK)
    batch = hand_out(manager, key)
    manager.handle(on.BatchComputed(batch, usable=True), 1.0)
    manager.handle(on.PartitionsRevoked((TASK,)), 1.0)

    assert manager.handle(on.DeadlinePassed(0), 10.9) == []
    assert "AbortTransaction" in shown(manager.handle(on.DeadlinePassed(0), 11.0))
    assert not manager.can_produce(batch)
    assert not manager.released([TASK])
    manager.handle(on.TransactionAborted(), 11.0)
    assert manager.released([TASK])


def test_outputs_of_a_lost_task_keep_the_transaction_from_being_committed(manager: TaskManager) -> None:
    """Also those of the tasks that are still owned: they are handed out again in a later epoch."""
    keys = start(manager, TASK, TWIN)
    produce(manager, *keys, now=0.0)

    assert "AbortTransaction" in shown(manager.handle(on.PartitionsLost((TASK,)), 1.0))
    assert manager.handle(on.CommitReady(), 1.0) == []
    again = manager.handle(on.TransactionAborted(), 1.0)
    assert shown(again) == ["DropOverlay", "StopFetching", "FindOwners"]
    assert manager.tasks[TWIN].epoch == keys[1].epoch + 1


def test_a_partition_that_cannot_be_read_sends_back_its_own_task_only(manager: TaskManager) -> None:
    """The other tasks go on."""
    keys = start(manager, TASK, TWIN)

    actions = manager.handle(on.FetchFailed(SOURCE, keys[0]), 1.0)

    assert act.StopFetching((TASK,)) in actions
    assert manager.tasks[TWIN].key == keys[1]
    assert manager.tasks[TWIN].state is TaskState.RUNNING


@pytest.fixture
def later(manager: TaskManager) -> tuple[TaskEpoch, TaskEpoch]:
    """Return two tasks of a dead owner: one for which it is being fenced, and one that was found later."""
    manager.handle(on.PartitionsAssigned((TASK, TWIN)), 0.0)
    first, second = manager.tasks[TASK].key, manager.tasks[TWIN].key
    assert len(manager.handle(on.OwnersFound({first: frozenset([OTHER])}, frozenset([OTHER])), 0.0)) == 1
    assert manager.handle(on.OwnersFound({second: frozenset([OTHER])}, frozenset([OTHER])), 0.0) == []
    return first, second


def test_owners_are_looked_up_again_for_tasks_that_came_during_a_fence(
    manager: TaskManager, later: tuple[TaskEpoch, TaskEpoch]
) -> None:
    """The fence covers only its own tasks, and the owner of the others may have joined the group since."""
    first, second = later

    settle, drop, find = manager.handle(on.OwnerFenced(OTHER, (first,)), 0.0)

    assert isinstance(settle, act.SettleTransactions)
    assert settle.tasks == (first,)
    again = manager.tasks[TWIN].key
    assert again.epoch > second.epoch
    assert (drop, find) == (act.DropOverlay(again), act.FindOwners((again,), 0.0))


def test_tasks_that_came_during_a_fence_that_fails_do_not_wait_for_another(
    manager: TaskManager, later: tuple[TaskEpoch, TaskEpoch]
) -> None:
    """There may be no other: the first task can be revoked meanwhile."""
    first, _ = later

    actions = manager.handle(on.InitializationFailed((first,), OTHER), 0.0)

    (find,) = (action for action in actions if isinstance(action, act.FindOwners))
    assert {task.task for task in find.tasks} == {TASK, TWIN}


def test_delays_grow_with_aborts_in_a_row_and_end_with_a_commit(manager: TaskManager) -> None:
    """What fails for good does not spin."""
    delays = []
    for _ in range(10):
        keys = start(manager, TASK)
        produce(manager, *keys)
        delays += [
            a.after_seconds for a in manager.handle(on.TransactionAborted(), 1.0) if isinstance(a, act.FindOwners)
        ]
    keys = start(manager, TASK)
    produce(manager, *keys)
    (send,) = manager.handle(on.CommitReady(), 1.0)
    assert isinstance(send, act.SendOffsets)
    manager.handle(on.TransactionCommitted(send.transaction), 1.0)
    last = [a.after_seconds for a in manager.handle(on.TransactionAborted(), 1.0) if isinstance(a, act.FindOwners)]

    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert max(delays) == 5.0
    assert last == [0.0]


def test_a_worker_that_stops_leaves_the_group_and_initializes_nothing_more(manager: TaskManager) -> None:
    """Its tasks are committed by the revocation that follows."""
    (key,) = start(manager, TASK)

    assert manager.handle(on.StopAsked(), 1.0) == [act.LeaveGroup()]
    assert "FindOwners" not in shown(manager.handle(on.FetchFailed(SOURCE, key), 1.0))


def test_a_worker_whose_name_another_has_ends(manager: TaskManager) -> None:
    """Going on would fence the other one for ever."""
    (end,) = manager.handle(on.TransactionAborted(duplicate_member=True), 0.0)

    assert isinstance(end, act.EndProcess)
    assert ME in end.message


def test_offsets_that_do_not_change_are_committed_again(manager: TaskManager) -> None:
    """Before the brokers delete them; they are repeated once."""
    (key,) = start(manager, TASK, at=7)

    assert manager.handle(on.OffsetsExpiring(), 1.0) == [act.CommitTransaction()]
    assert manager.handle(on.CommitReady(), 1.0) == [act.SendOffsets(1, {}, {key: {SOURCE: 7}})]
    assert manager.handle(on.TransactionCommitted(1), 1.0) == []
    assert manager.handle(on.CommitReady(), 2.0) == []


def test_a_task_may_be_taken_away_while_it_is_restored(manager: TaskManager) -> None:
    """It is closed at once, and the end of its restore starts nothing; an abort leaves it where it is."""
    manager.handle(on.PartitionsAssigned((TASK,)), 0.0)
    key = manager.tasks[TASK].key
    manager.handle(on.OwnersFound({key: frozenset([ME])}, frozenset()), 0.0)
    manager.handle(on.TransactionsSettled((key,)), 0.0)
    manager.handle(on.OffsetsResolved({key: {SOURCE: 5}}), 0.0)
    manager.handle(on.RestoreStarted(key), 0.0)

    assert manager.tasks.is_restoring(key)
    assert manager.tasks.share_running == 0
    assert manager.handle(on.TransactionAborted(), 0.0) == []
    assert manager.tasks.is_restoring(key)
    assert shown(manager.handle(on.PartitionsRevoked((TASK,)), 0.0)) == ["StopFetching", "CloseStores"]
    assert manager.handle(on.StateRestored(key), 0.0) == []


def test_outputs_that_the_offsets_leave_out_are_never_committed(manager: TaskManager) -> None:
    """The second batch of a task is produced and the first is not: a commit would make its outputs come twice."""
    (key,) = start(manager, TASK)
    hand_out(manager, key)
    second = hand_out(manager, key, first=5)
    manager.handle(on.BatchComputed(second, usable=True), 1.0)
    manager.handle(on.BatchProduced(second, waiting_rows=0), 1.0)

    with pytest.raises(ValueError, match="out of order"):
        manager.handle(on.CommitReady(), 1.0)


def test_a_rebalance_leaves_the_tasks_that_stay_alone(manager: TaskManager) -> None:
    """A rebalance is a difference: epochs and progress of the kept tasks stay as they are."""
    keys = start(manager, TASK, TWIN)
    batch = hand_out(manager, keys[0])

    manager.handle(on.PartitionsRevoked((TWIN,)), 1.0)
    manager.handle(on.PartitionsAssigned((ELSEWHERE,)), 1.0)

    assert manager.tasks[TASK].key == keys[0]
    assert manager.handle(on.BatchComputed(batch, usable=True), 1.0) == [act.ProduceBatch(batch)]


def test_an_epoch_never_comes_twice(manager: TaskManager) -> None:
    """A partition that leaves and returns begins a new epoch: records of the old one stay void."""
    (old,) = start(manager, TASK)
    manager.handle(on.PartitionsRevoked((TASK,)), 1.0)
    (new,) = start(manager, TASK)

    assert new.epoch > old.epoch
    assert manager.handle(on.RecordsFetched(((old, (RecordSpan(SOURCE, 0, 1, 1, 0),)),)), 1.0) == []


def test_records_that_do_not_follow_send_the_task_back(manager: TaskManager) -> None:
    """Records from before the position mean that the fetching went wrong: the task is initialized again."""
    keys = start(manager, TASK, TWIN, at=5)
    offered = tuple(
        (key, (RecordSpan(manager.tasks.sources([key.task])[0], at, 9, 3, 0),))
        for key, at in zip(keys, (3, 5), strict=True)
    )

    actions = manager.handle(on.RecordsFetched(offered), 1.0)

    assert shown(actions) == ["DropOverlay", "StopFetching", "FindOwners", "ProcessBatch"]
    assert actions[-1] == act.ProcessBatch(1, (keys[1],))
    assert manager.tasks[TASK].state is TaskState.OPENING


def test_nothing_is_committed_once_outputs_of_a_stale_epoch_were_produced(manager: TaskManager) -> None:
    """Also what is committable by itself waits for the abort, and is handed out again."""
    (key,) = start(manager, TASK)
    produce(manager, key, now=0.0)

    assert shown(manager.handle(on.BatchProduced(77, waiting_rows=0), 0.0)) == ["AbortTransaction"]
    assert manager.handle(on.CommitReady(), 0.0) == []
    assert manager.wants_abort


def test_the_oldest_record_of_each_source_is_known_until_it_is_committed(manager: TaskManager) -> None:
    """Of what was handed out; committed offsets stand beside it."""
    (key,) = start(manager, TASK, at=3)
    manager.handle(on.RecordsFetched(((key, (RecordSpan(SOURCE, 4, 6, 2, 1000),)),)), 1.0)
    assert manager.tasks.positions() == {SOURCE: (3, (4, 1000))}

    manager.handle(on.BatchComputed(1, usable=True), 1.0)
    manager.handle(on.BatchProduced(1, waiting_rows=0), 1.0)
    manager.handle(on.CommitReady(), 1.0)
    manager.handle(on.TransactionCommitted(1), 1.0)

    assert manager.tasks.positions() == {SOURCE: (6, None)}


def test_a_flooded_worker_commits_at_its_interval_and_one_that_keeps_up_at_once(manager: TaskManager) -> None:
    """While many rows wait, outputs of several batches go into one transaction."""
    (key,) = start(manager, TASK)
    batch = hand_out(manager, key)
    manager.handle(on.BatchComputed(batch, usable=True), 1.0)

    assert manager.handle(on.BatchProduced(batch, waiting_rows=1000), 1.0) == []
    assert manager.commit_due(waiting_rows=1000) == pytest.approx(1.1)
    assert manager.handle(on.DeadlinePassed(1000), 1.09) == []
    assert manager.handle(on.DeadlinePassed(1000), 1.11) == [act.CommitTransaction()]
