"""Queues fetched records that are not yet in a batch: the fetcher adds them, the batch assembler takes batches.

This is natural batching: records of the next batch accumulate while the current one is processed.
"""

import heapq
import threading
from collections import deque
from collections.abc import Sequence

from surgetank.records import PartitionRecords, TaskEpoch, TaskId, TaskRecords, TopicPartition
from surgetank.runtime.record_order import QueuedRecords, RecordOrder


class _TaskQueue:
    """The queued records of a task epoch, by partition."""

    def __init__(self) -> None:
        self.partitions: dict[TopicPartition, deque[QueuedRecords]] = {}
        self.rows = self.payload_bytes = 0
        self.waiting = False  # its order returned no records, and none have arrived since

    def add(self, queued: QueuedRecords) -> None:
        """Add records after those of the same partition."""
        self.partitions.setdefault(queued.records.source, deque()).append(queued)
        self.rows += len(queued.records)
        self.payload_bytes += queued.payload_bytes
        self.waiting = False

    def next(self, order: RecordOrder) -> tuple[QueuedRecords, int] | None:
        """Return the next records and how many of their rows to take; None if the task waits."""
        found = order.next([records[0] for records in self.partitions.values()])
        self.waiting = found is None
        return found

    def take(self, queued: QueuedRecords, rows: int) -> QueuedRecords:
        """Remove and return the first rows of the oldest records of a partition."""
        queue = self.partitions[queued.records.source]
        queue.popleft()
        if rows < len(queued.records):
            taken, rest = queued.records.split(rows)
            rest_bytes = rest.payload_bytes
            queue.appendleft(QueuedRecords(queued.arrival, rest, rest_bytes))
            queued = QueuedRecords(queued.arrival, taken, queued.payload_bytes - rest_bytes)
        elif not queue:
            del self.partitions[queued.records.source]
        self.rows -= len(queued.records)
        self.payload_bytes -= queued.payload_bytes
        return queued


class RecordQueues:
    """One queue for each task epoch. Tasks are taken from in the order of arrival of their next records.

    Fetching pauses at ``rows_max`` rows or ``bytes_max`` bytes of keys, values and headers. The records of one read are
    added together, so the queues may exceed these bounds by one read. ``order`` is the order within a task. A task that
    waits and holds its share of either bound pauses its own partitions only (``paused``); the others keep at least
    their shares, so that all queues together hold at most twice the bounds.
    """

    def __init__(self, rows_max: int, bytes_max: int, order: RecordOrder) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._order = order
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._tasks: dict[TaskEpoch, _TaskQueue] = {}
        self._arrivals = 0
        self._rows = self._ready_rows = self._payload_bytes = 0

    @property
    def rows(self) -> int:
        """The number of queued rows."""
        return self._rows

    @property
    def ready_rows(self) -> int:
        """The number of queued rows of tasks that do not wait."""
        return self._ready_rows

    @property
    def payload_bytes(self) -> int:
        """The bytes of all queued keys, values and headers."""
        return self._payload_bytes

    def __bool__(self) -> bool:
        """Return whether a task that does not wait has records."""
        with self._lock:
            return any(not queue.waiting for queue in self._tasks.values())

    def put(self, fetched: list[tuple[TaskId, int, PartitionRecords]]) -> None:
        """Add records with their task and epoch."""
        with self._lock:
            for task, epoch, records in fetched:
                self._arrivals += 1
                queued = QueuedRecords(self._arrivals, records, records.payload_bytes)
                self._tasks.setdefault(TaskEpoch(task, epoch), _TaskQueue()).add(queued)
            self._count()

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until the queues are below both bounds; return False if they are not within ``timeout`` seconds."""
        with self._room:
            return self._room.wait_for(self._has_room, timeout)

    def wake(self) -> None:
        """Let the tasks that wait try again: what their order waited for may have happened."""
        with self._lock:
            for queue in self._tasks.values():
                queue.waiting = False
            self._count()

    def waiting(self) -> set[TaskId]:
        """Return the tasks that wait although they have records."""
        with self._lock:
            return {key.task for key, queue in self._tasks.items() if queue.waiting}

    def paused(self) -> set[TaskId]:
        """Return the tasks of which no more records may be fetched now, because they wait."""
        with self._lock:
            return {key.task for key, queue in self._tasks.items() if self._is_paused(queue)}

    def take(self, rows_max: int, bytes_max: int) -> tuple[TaskRecords, ...]:
        """Remove and return up to ``rows_max`` rows, grouped by task epoch. Queued records may be split.

        Keys, values and headers have at most ``bytes_max`` bytes together, but at least one row is taken, whatever its
        size.
        """
        taken: dict[TaskEpoch, list[PartitionRecords]] = {}
        with self._lock:
            due = [
                (found[0].arrival, key, found)
                for key, queue in self._tasks.items()
                if (found := queue.next(self._order)) is not None
            ]
            heapq.heapify(due)
            while due and rows_max > 0:
                _, key, (queued, available) = due[0]
                queue, rows = self._tasks[key], min(rows_max, available)
                if rows and queued.payload_bytes > bytes_max:
                    rows = min(rows, queued.records.rows_within(bytes_max))
                    if rows == 0 and taken:
                        break
                    rows = max(rows, 1)
                queued = queue.take(queued, rows)
                rows_max -= len(queued.records)
                bytes_max -= queued.payload_bytes
                taken.setdefault(key, []).append(queued.records)
                if queue.partitions and (found := queue.next(self._order)) is not None:
                    heapq.heapreplace(due, (found[0].arrival, key, found))
                else:
                    heapq.heappop(due)
            self._count()
        return tuple(TaskRecords(key.task, key.epoch, tuple(records)) for key, records in taken.items())

    def oldest(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return offset and timestamp (ms) of the oldest queued record of each partition."""
        found: dict[TopicPartition, tuple[int, int]] = {}
        with self._lock:
            for queue in self._tasks.values():
                for source, queued in queue.partitions.items():
                    first = next((each.records for each in queued if len(each.records)), None)
                    if first is not None:
                        found.setdefault(source, (int(first.offsets[0]), int(first.arrived_ms[0])))
        return found

    def discard(self, tasks: set[TaskId]) -> None:
        """Remove the queued records of these tasks."""
        with self._lock:
            for key in [key for key in self._tasks if key.task in tasks]:
                del self._tasks[key]
            self._count()

    def _count(self) -> None:
        self._tasks = {key: queue for key, queue in self._tasks.items() if queue.partitions}
        self._rows = sum(queue.rows for queue in self._tasks.values())
        self._ready_rows = sum(queue.rows for queue in self._tasks.values() if not queue.waiting)
        self._payload_bytes = sum(queue.payload_bytes for queue in self._tasks.values())
        self._room.notify_all()

    def _is_paused(self, queue: _TaskQueue) -> bool:
        return queue.waiting and self._load([queue]) * len(self._tasks) >= 1

    def _has_room(self) -> bool:
        paused = [queue for queue in self._tasks.values() if self._is_paused(queue)]
        others = [queue for queue in self._tasks.values() if not self._is_paused(queue)]
        return self._load(others) < max(1 - self._load(paused), 1 / max(1, len(self._tasks)))

    def _load(self, queues: Sequence[_TaskQueue]) -> float:
        """Return what share of the bounds some queues hold."""
        return max(
            sum(queue.rows for queue in queues) / self._rows_max,
            sum(queue.payload_bytes for queue in queues) / self._bytes_max,
        )
