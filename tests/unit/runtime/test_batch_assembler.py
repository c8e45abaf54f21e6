"""Batches gather while a commit is under way, and are handed out when it ends; with a real manager and mailbox."""

import threading

import numpy as np
import pytest

from surgetank.clock import SystemClock
from surgetank.records import BatchOutput, PartitionRecords, TaskId, TopicPartition, large_binary
from surgetank.runtime import task_events as on
from surgetank.runtime.batch_assembler import BatchAssembler
from surgetank.runtime.batch_timer import BatchTimer
from surgetank.runtime.commit_policy import WORTHWHILE_ROWS
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.record_order import ArrivalOrder
from surgetank.runtime.record_queues import RecordQueues
from surgetank.runtime.task_batch import TaskBatch
from surgetank.runtime.task_manager import TaskManager
from surgetank.serving.batch_sizer import FixedBatchSizer
from surgetank.settings import WorkerSettings
from surgetank.telemetry.metrics import Metrics

TASK = TaskId("scoring", 0)
SOURCE = TopicPartition("events", 0)
LONG = 5.0  # seconds, more than any test needs
OUTPUT = BatchOutput(0, (), (), 0, np.zeros(0, np.int64))


class ShiftedClock(SystemClock):
    """The machine's clock, put forward by ``shift`` seconds."""

    shift = 0.0

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return super().monotonic() + self.shift


class World:
    """A running task, and a source of records that reads what a test gives it."""

    def __init__(self) -> None:
        self.worker = WorkerSettings(commit_interval_seconds=LONG)
        manager = TaskManager(
            {"scoring": ("events",)},
            identity="w",
            interval_seconds=LONG,
            batch_rows_max=lambda: self.worker.batch_rows_max,
            close_deadline_seconds=1.0,
        )
        self.clock = ShiftedClock()
        self.mailbox = Mailbox(manager, self.clock.monotonic)
        self.records = RecordQueues(100_000, 1 << 30, ArrivalOrder())
        sizer = FixedBatchSizer(self.worker.batch_rows_max)
        self.assembler = BatchAssembler(
            self.worker,
            self.mailbox,
            self,
            self.records,
            sizer=sizer,
            timer=BatchTimer(sizer, "events", self.clock),
            clock=self.clock,
            metrics=Metrics(),
        )
        self.mailbox.post(on.PartitionsAssigned((TASK,)))
        self.task = self.mailbox.ask(lambda manager: manager.tasks[TASK].key)
        self.mailbox.post(on.OwnersFound({self.task: frozenset(["w"])}, frozenset()))
        self.mailbox.post(on.TransactionsSettled((self.task,)))
        self.mailbox.post(on.OffsetsResolved({self.task: {SOURCE: 0}}))
        self.mailbox.post(on.StateRestored(self.task))
        self._end = 0
        self._arriving = 0
        self.reads = 0

    def arrive(self, rows: int) -> None:
        """Let rows be there to be read."""
        self._arriving += rows

    def read_in_background(self) -> None:
        """Read all that is there, as the fetch thread does."""
        self.poll(0)

    def poll(self, timeout: float) -> int:
        """Read all that is there."""
        self.reads += 1
        rows, self._arriving = self._arriving, 0
        if rows:
            first, self._end = self._end, self._end + rows
            offsets = np.arange(first, self._end)
            run = PartitionRecords(
                SOURCE, self._end, offsets, offsets, large_binary([None] * rows), large_binary([b""] * rows)
            )
            self.records.put([(TASK, self.task.epoch, run)])
        elif timeout:
            threading.Event().wait(min(timeout, 0.001))
        return rows

    def begin_commit(self, batch: TaskBatch) -> None:
        """Compute and produce a batch, and send its offsets."""
        self.assembler.submit(batch, OUTPUT)
        self.assembler.computed(batch.number)
        self.mailbox.post(on.BatchProduced(batch.number, waiting_rows=0, state_full=True))
        self.mailbox.post(on.CommitReady())


@pytest.fixture
def world() -> World:
    """A task that runs from offset 0 on."""
    return World()


def test_the_first_row_after_a_silence_waits_for_nothing(world: World) -> None:
    """Nothing was committed for long: what is there is handed out at once."""
    world.arrive(1)

    batch = world.assembler.next_batch(LONG)

    assert batch is not None
    assert len(batch) == 1


def test_a_small_batch_takes_one_read(world: World) -> None:
    """A read that is not full returned all that is there."""
    world.arrive(1)

    world.assembler.next_batch(LONG)

    assert world.reads == 1


def test_without_records_the_host_gets_its_thread_back(world: World) -> None:
    """An event loop has other things to do."""
    assert world.assembler.next_batch(0.02) is None


def test_a_small_batch_gathers_until_the_commit_under_way_ends(world: World) -> None:
    """Rows that arrived meanwhile are in the batch, read in the background or not."""
    world.arrive(1)
    first = world.assembler.next_batch(LONG)
    assert first is not None
    world.begin_commit(first)
    world.arrive(2)
    world.read_in_background()
    assert world.assembler.next_batch(0.05) is None
    found: list[TaskBatch | None] = []
    waiting = threading.Thread(target=lambda: found.append(world.assembler.next_batch(2 * LONG)), daemon=True)
    waiting.start()
    world.arrive(3)
    world.clock.shift = LONG / 10 - 0.05  # soon the next commit may begin, but not yet

    world.mailbox.post(on.TransactionCommitted(1))
    waiting.join(LONG / 2)

    assert [len(batch) for batch in found if batch is not None] == [5]


def test_a_full_batch_is_computed_while_a_commit_is_under_way(world: World) -> None:
    """The worker lags: it must not idle."""
    world.arrive(1)
    first = world.assembler.next_batch(LONG)
    assert first is not None
    world.begin_commit(first)
    world.arrive(world.worker.batch_rows_max)
    world.read_in_background()

    batch = world.assembler.next_batch(LONG)

    assert batch is not None
    assert len(batch) == world.worker.batch_rows_max


def test_enough_rows_that_are_read_while_a_batch_lingers_end_it(world: World) -> None:
    """They are noticed although no commit ends and nobody wakes the waiting thread."""
    world.arrive(1)
    first = world.assembler.next_batch(LONG)
    assert first is not None
    world.begin_commit(first)
    found: list[TaskBatch | None] = []
    waiting = threading.Thread(target=lambda: found.append(world.assembler.next_batch(LONG)), daemon=True)
    waiting.start()
    world.arrive(WORTHWHILE_ROWS)
    world.read_in_background()
    waiting.join(LONG / 2)

    assert [len(batch) for batch in found if batch is not None] == [WORTHWHILE_ROWS]


def test_no_more_than_two_computed_batches_wait_for_the_producer(world: World) -> None:
    """A third one is not begun before one of them is produced."""
    world.arrive(2 * world.worker.batch_rows_max)
    for _ in range(2):
        batch = world.assembler.next_batch(LONG)
        assert batch is not None
        world.assembler.submit(batch, OUTPUT)
        world.arrive(2 * world.worker.batch_rows_max)
        world.read_in_background()

    assert world.assembler.next_batch(0.05) is None
    world.assembler.computed(1)
    assert world.assembler.next_batch(LONG) is not None
