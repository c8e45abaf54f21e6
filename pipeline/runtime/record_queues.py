"""What was fetched and is not yet in a batch: filled by the fetcher, emptied by whole batches.

Natural batching lives here: while one batch is worked on, the next one gathers.
"""

import threading
from collections import deque

from pipeline.records import PartitionRecords, TaskId, TaskRecords, TopicPartition


class RecordQueues:
    """Runs in the order they were fetched. ``rows_max`` and ``bytes_max``, of keys and values, bound memory: at one
    of them fetching pauses. What one read brings is put in whole, so the queues may exceed their bounds by that much.
    """

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._runs: deque[tuple[TaskId, int, PartitionRecords]] = deque()
        self._rows = self._payload_bytes = 0

    @property
    def rows(self) -> int:
        """Rows waiting."""
        return self._rows

    @property
    def payload_bytes(self) -> int:
        """Bytes of the keys and values that wait."""
        return self._payload_bytes

    def __bool__(self) -> bool:
        return bool(self._runs)

    def put(self, fetched: list[tuple[TaskId, int, PartitionRecords]]) -> None:
        """Add runs with their task and epoch."""
        with self._lock:
            self._runs.extend(fetched)
            self._rows += sum(len(run) for _, _, run in fetched)
            self._payload_bytes += sum(run.payload_bytes for _, _, run in fetched)

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until both bounds leave room; False if that took longer than the timeout (seconds)."""
        with self._room:
            return self._room.wait_for(
                lambda: self._rows < self._rows_max and self._payload_bytes < self._bytes_max, timeout
            )

    def take(self, rows_max: int, bytes_max: int) -> tuple[TaskRecords, ...]:
        """Take up to ``rows_max`` rows, oldest first, as one slice per task. A run may be split.

        Their keys and values have at most ``bytes_max`` bytes together; but one row is taken whatever its size.
        """
        pieces: dict[tuple[TaskId, int], list[PartitionRecords]] = {}
        with self._lock:
            room, room_bytes = rows_max, bytes_max
            while self._runs and room > 0:
                task, epoch, run = self._runs[0]
                rows = min(room, len(run))
                if rows and run.payload_bytes > room_bytes:
                    rows = min(rows, run.rows_within(room_bytes))
                    if rows == 0 and pieces:
                        break
                    rows = max(rows, 1)
                self._runs.popleft()
                if rows < len(run):
                    run, rest = run.split(rows)
                    self._runs.appendleft((task, epoch, rest))
                room -= len(run)
                room_bytes -= run.payload_bytes
                pieces.setdefault((task, epoch), []).append(run)
            self._rows -= rows_max - room
            self._payload_bytes -= bytes_max - room_bytes
            self._room.notify_all()
        return tuple(TaskRecords(task, epoch, tuple(runs)) for (task, epoch), runs in pieces.items())

    def heads(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return offset and time (ms) of the oldest waiting record of each source."""
        found: dict[TopicPartition, tuple[int, int]] = {}
        with self._lock:
            for _, _, run in self._runs:
                if len(run) and run.source not in found:
                    found[run.source] = (int(run.offsets[0]), int(run.arrived_ms[0]))
        return found

    def discard(self, tasks: set[TaskId]) -> None:
        """Throw away what waits for the tasks."""
        with self._lock:
            self._runs = deque(entry for entry in self._runs if entry[0] not in tasks)
            self._rows = sum(len(run) for _, _, run in self._runs)
            self._payload_bytes = sum(run.payload_bytes for _, _, run in self._runs)
            self._room.notify_all()
