"""Assembles batches: takes fetched records, lingers as long as that delays no commit, and returns the next batch.

Call all methods except ``computed`` in the thread that computes.
"""

import logging
from collections.abc import Iterable
from typing import Protocol

from surgetank.batch_sizing import BatchSizer
from surgetank.clock import Clock
from surgetank.records import BatchOutput, TaskRecords
from surgetank.runtime import task_actions as act
from surgetank.runtime.batch_timer import BatchTimer
from surgetank.runtime.fetcher import READ_ROWS_MAX
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.record_queues import RecordQueues
from surgetank.runtime.task_batch import TaskBatch
from surgetank.runtime.task_events import BatchComputed, RecordsFetched, RecordSpan
from surgetank.runtime.task_manager import TaskManager
from surgetank.settings import WorkerSettings
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

SHORTER_SECONDS = 0.001  # a linger time that is shorter by less than this changes nothing
LOOK_SECONDS = 0.01  # how often to count the waiting rows while lingering: enough of them end it


class RecordSource(Protocol):
    """Fills the record queues."""

    def poll(self, timeout: float) -> int:
        """Read the available records; wait up to ``timeout`` seconds for the first. Return how many were read."""
        ...


class BatchAssembler:
    """Returns one batch at a time and holds computed batches until the producer takes them.

    ``sizer`` decides the size of the next batch, and ``timer`` reports the times of the batches to it.
    """

    def __init__(
        self,
        worker: WorkerSettings,
        mailbox: Mailbox,
        fetcher: RecordSource,
        records: RecordQueues,
        *,
        sizer: BatchSizer,
        timer: BatchTimer,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._worker = worker
        self._mailbox = mailbox
        self._fetcher = fetcher
        self._records = records
        self._sizer = sizer
        self._timer = timer
        self._clock = clock
        self._metrics = metrics
        self._computed: dict[int, tuple[TaskBatch, BatchOutput]] = {}

    def next_batch(self, timeout: float) -> TaskBatch | None:
        """Fetch records and return a batch, after lingering as long as that delays no commit.

        Return None if there was no batch within ``timeout`` seconds. Block the calling thread.
        """
        give_up = self._clock.monotonic() + timeout
        while (left := give_up - self._clock.monotonic()) > 0:
            linger = self._mailbox.ask(self._linger_seconds)
            if linger > 0:
                self._linger(min(linger, left, LOOK_SECONDS))
                continue
            self._fill(left)
            if self._records and (batch := self._hand_out()) is not None:
                return batch
        return None

    def _linger(self, seconds: float) -> None:
        """Wait, but only as long as that delays no commit: an event may shorten the linger time."""
        until = self._clock.monotonic() + seconds - SHORTER_SECONDS
        self._mailbox.wait_for(lambda manager: self._clock.monotonic() + self._linger_seconds(manager) < until, seconds)

    def _fill(self, timeout: float) -> None:
        """Fetch the available records, at most two batches: more waiting rows mean that the worker lags.

        If no record waits, wait up to ``timeout`` seconds for the first.
        """
        wait = 0.0 if self._records else timeout
        while self._records.ready_rows < 2 * self._sizer.rows_max() and self._fetcher.poll(wait) >= READ_ROWS_MAX:
            wait = 0.0

    def _hand_out(self) -> TaskBatch | None:
        self._sizer.waiting(self._records.ready_rows, self._clock.monotonic())
        taken = self._records.take(self._sizer.rows_max(), self._worker.batch_kilobytes_max << 10)
        actions = self._mailbox.post(RecordsFetched(tuple((records.key, _spans(records)) for records in taken)))
        for action in actions:
            if isinstance(action, act.DropOverlay):
                log.warning("records of task %s did not follow on one another; reopening it", action.task.task)
            if isinstance(action, act.ProcessBatch):
                return self._batch(action, taken)
        return None

    def _linger_seconds(self, manager: TaskManager) -> float:
        return manager.policy.linger_seconds(
            self._clock.monotonic(),
            waiting_rows=self._records.ready_rows,
            computed_batches=len(self._computed),
            committing=manager.committing,
        )

    def submit(self, batch: TaskBatch, output: BatchOutput | None) -> None:
        """Put the outputs of a batch into the open transaction, and commit when a commit is due.

        ``output`` None: no output may be committed, and the tasks of the batch return to their committed offsets.
        """
        self._timer.computed(batch.number)
        if output is not None:
            self._computed[batch.number] = (batch, output)
        actions = self._mailbox.post(BatchComputed(batch.number, usable=output is not None))
        if not any(isinstance(action, act.ProduceBatch) for action in actions):
            self._computed.pop(batch.number, None)

    def computed(self, number: int) -> tuple[TaskBatch, BatchOutput]:
        """Remove and return a computed batch. Call it in the producer's thread."""
        return self._computed.pop(number)

    def _batch(self, action: act.ProcessBatch, taken: Iterable[TaskRecords]) -> TaskBatch:
        kept = set(action.tasks)
        batch = TaskBatch(action.batch, tuple(records for records in taken if records.key in kept))
        self._timer.taken(batch)
        for topic, rows in batch.rows_by_topic().items():
            self._metrics.events_received.add(rows, topic=topic)
        return batch


def _spans(task: TaskRecords) -> tuple[RecordSpan, ...]:
    return tuple(
        RecordSpan(
            records.source,
            int(records.offsets[0]) if len(records) else records.next_offset,
            records.next_offset,
            len(records),
            int(records.arrived_ms[0]) if len(records) else None,
        )
        for records in task.partitions
    )
