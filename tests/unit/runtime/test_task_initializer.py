"""When a task that its worker owned before is claimed again, and how many expired records are reported."""

import queue
import time
from collections.abc import Iterator, Mapping
from typing import cast

import pytest

from surgetank.clock import SystemClock
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.records import ModelVersion, TaskId, TopicPartition
from surgetank.runtime import task_actions as act
from surgetank.runtime import task_events as on
from surgetank.runtime.event_clock import EventClock
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.source_topics import SourceTopics
from surgetank.runtime.start_offsets import Processed
from surgetank.runtime.state_lifecycle import StateLifecycle
from surgetank.runtime.task_actions import ManagerAction
from surgetank.runtime.task_initializer import TaskInitializer
from surgetank.runtime.task_manager import TaskManager
from surgetank.runtime.written_partitions import WrittenPartitions
from surgetank.telemetry.metrics import Metrics

SOURCE = TopicPartition("events", 0)
TASK = TaskId("flights", 0)
CLAIM = OffsetOwner("me", "http://127.0.0.1:8080", "1", {"planes": "a"})
WAIT_SECONDS = 10.0


class OnePartition:
    """A group with one partition: its committed offset, the owner of that, and the bounds of the partition."""

    group_id = "flights"

    def __init__(self, owner: OffsetOwner | None, committed: int, low: int, high: int) -> None:
        self.owner = owner
        self.offset = committed
        self.low = low
        self.high = high

    def exists(self, topic: str, timeout: float) -> bool:
        """No state is being migrated."""
        return False

    def live(self, timeout: float) -> set[str]:
        """Return the client ids of the members."""
        return {"me"}

    def offset_owners(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, OffsetOwner | None]:
        """Return the owner of the partition."""
        return dict.fromkeys(sources, self.owner)

    def committed(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, int]:
        """Return the committed offset."""
        return dict.fromkeys(sources, self.offset)

    def bounds(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset and the last stable offset."""
        return dict.fromkeys(sources, (self.low, self.high))

    def high_watermarks(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, int]:
        """Return the end."""
        return dict.fromkeys(sources, self.high)


class Opening:
    """A worker that opens its only task: a real task manager and initializer, transactions that always succeed."""

    def __init__(self, group: OnePartition, processed: Mapping[TopicPartition, Processed]) -> None:
        self.expired: list[int] = []
        self.claimed: list[Mapping[TopicPartition, int]] = []
        self._actions: queue.SimpleQueue[ManagerAction] = queue.SimpleQueue()
        clock, metrics = SystemClock(), Metrics()
        manager = TaskManager(
            {"flights": ("events",)},
            identity="me",
            interval_seconds=0.1,
            batch_rows_max=lambda: 100,
            close_deadline_seconds=10.0,
        )
        self._mailbox = Mailbox(manager, time.monotonic)
        self._mailbox.connect(self._actions.put)
        self._initializer = TaskInitializer(
            cast("GroupClient", group),
            self._mailbox,
            cast("StateLifecycle", None),
            identity="me",
            claims={"events": CLAIM.metadata()},
            written=WrittenPartitions(("scores",)),
            migration="migration",
            reset="earliest",
            topics=SourceTopics({"events": "1"}, lambda _: {}),
            processed=lambda _, __: processed,
            metrics=metrics,
            event_clock=EventClock(clock, metrics),
            beat=lambda: None,
            on_expired=lambda _, records: self.expired.append(records),
            on_failure=lambda error: self._actions.put(act.EndProcess(str(error))),
        )

    def run(self) -> act.RestoreState:
        """Open the task up to its restore, and return that."""
        self._initializer.start()
        self._mailbox.post(on.PartitionsAssigned((TASK,)))
        while not isinstance(action := self._actions.get(timeout=WAIT_SECONDS), act.RestoreState):
            match action:
                case act.FindOwners() | act.ResolveOffsets():
                    self._initializer.ask(action)
                case act.SettleTransactions():
                    self._mailbox.post(on.TransactionsSettled(action.tasks))
                case act.CommitTransaction():
                    (sending,) = self._mailbox.post(on.CommitReady())
                    assert isinstance(sending, act.SendOffsets)
                    self.claimed += sending.claims.values()
                    self._mailbox.post(on.TransactionCommitted(sending.transaction))
                case act.EndProcess():
                    pytest.fail(action.message)
        return action

    def stop(self) -> None:
        """End the thread."""
        self._initializer.stop(WAIT_SECONDS)


def opened(group: OnePartition, processed: Mapping[TopicPartition, Processed] | None = None) -> Opening:
    """Open the task of a partition up to its restore."""
    opening = Opening(group, processed or {})
    try:
        opening.run()
    finally:
        opening.stop()
    return opening


def changed() -> Iterator[OffsetOwner]:
    """Yield claims of this worker before it was changed."""
    yield OffsetOwner("me", CLAIM.address, "1", {"planes": "former"})
    yield OffsetOwner("me", CLAIM.address, "1")
    yield OffsetOwner("me", "http://127.0.0.1:1", "1", CLAIM.tables)
    yield OffsetOwner("me", CLAIM.address, "", CLAIM.tables)
    yield OffsetOwner("me", CLAIM.address, "1", CLAIM.tables, ModelVersion("late", "1"))


@pytest.mark.parametrize("owner", list(changed()))
def test_a_worker_restarts_with_changed_tables(owner: OffsetOwner) -> None:
    """It claims its partitions again: idle ones would name its former tables, and other workers would not join."""
    assert opened(OnePartition(owner, 50, 0, 90)).claimed == [{SOURCE: 50}]


def test_a_worker_that_owned_its_partition_before_restores_without_a_claim() -> None:
    """A restart costs no transaction."""
    assert opened(OnePartition(CLAIM, 50, 0, 90)).claimed == []


def test_events_of_an_idle_partition_expired() -> None:
    """The start is claimed, so that the next restart does not report the same events again."""
    opening = opened(OnePartition(CLAIM, 3, 10, 10))

    assert opening.expired == [7]
    assert opening.claimed == [{SOURCE: 10}]


def test_events_with_a_score_do_not_expire_unread() -> None:
    """The offset was set back to deleted events, of which only the last two have no score."""
    assert opened(OnePartition(None, 3, 10, 90), {SOURCE: Processed(8)}).expired == [2]
    assert opened(OnePartition(None, 3, 10, 90), {SOURCE: Processed(20)}).expired == []
