"""Measures the times of each batch from its being taken to its commit, and reports them to the batch sizer."""

import threading
from collections.abc import Iterable

from surgetank.batch_sizing import BatchSizer, BatchTimes
from surgetank.clock import Clock
from surgetank.runtime.task_batch import TaskBatch


class BatchTimer:
    """The batches that are taken and not yet committed. For any thread.

    ``clock`` agrees with the timestamps of the records. Only records of the topic ``events`` have an age: facts are
    often old.
    """

    def __init__(self, sizer: BatchSizer, events: str, clock: Clock) -> None:
        self._sizer = sizer
        self._events = events
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[int, BatchTimes] = {}

    def taken(self, batch: TaskBatch) -> None:
        """Take the time at which a batch was taken from the queues."""
        now, arrived = self._clock.now(), _oldest_ms(batch, self._events)
        age = 0.0 if arrived is None else max(0.0, now - arrived / 1000)
        with self._lock:
            self._open[batch.number] = BatchTimes(len(batch), self._clock.monotonic(), age, age)

    def computed(self, number: int) -> None:
        """Report the time from the taking of a batch until now."""
        with self._lock:
            batch = self._open.get(number)
        if batch is not None:
            self._sizer.computed(batch.rows, self._clock.monotonic() - batch.taken_at)

    def committed(self, numbers: Iterable[int], seconds: float) -> None:
        """Report the batches of a transaction that is committed now; its commit took ``seconds``."""
        now, ended = self._clock.monotonic(), list(numbers)
        with self._lock:
            done = [self._open.pop(number) for number in ended if number in self._open]
            for lost in [number for number in self._open if number < max(ended, default=0)]:
                del self._open[lost]  # of tasks that went to another worker: batches are committed in their order
        self._sizer.committed(
            [
                BatchTimes(each.rows, each.taken_at, each.taken_age, each.taken_age + now - each.taken_at)
                for each in done
            ],
            seconds,
        )

    def aborted(self) -> None:
        """Forget the batches in flight: their records will be in other ones."""
        with self._lock:
            self._open.clear()


def _oldest_ms(batch: TaskBatch, topic: str) -> int | None:
    """Return the first timestamp of the partitions of a topic, in ms since the epoch; None if there is none."""
    first = [
        int(records.arrived_ms[0])
        for task in batch.tasks
        for records in task.partitions
        if records.source.topic == topic and len(records)
    ]
    return min((each for each in first if each >= 0), default=None)
