"""Queues fetched records that are not yet in a batch: the fetcher adds them, the batch assembler takes batches.

This is natural batching: records of the next batch accumulate while the current one is processed.
"""

import threading
from collections import deque

from pipeline.records import PartitionRecords, TaskId, TaskRecords, TopicPartition


class RecordQueues:
    """Records in fetch order. Fetching pauses at ``rows_max`` rows or ``bytes_max`` bytes of keys and values.

    The records of one read are added together, so the queues may exceed these bounds by one read.
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
        """The number of queued rows."""
        return self._rows

    @property
    def payload_bytes(self) -> int:
        """The bytes of all queued keys and values."""
        return self._payload_bytes

    def __bool__(self) -> bool:
        return bool(self._runs)

    def put(self, fetched: list[tuple[TaskId, int, PartitionRecords]]) -> None:
        """Add records with their task and epoch."""
        with self._lock:
            self._runs.extend(fetched)
            self._rows += sum(len(run) for _, _, run in fetched)
            self._payload_bytes += sum(run.payload_bytes for _, _, run in fetched)

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until the queues are below both bounds; return False if they are not within ``timeout`` seconds."""
        with self._room:
            return self._room.wait_for(
                lambda: self._rows < self._rows_max and self._payload_bytes < self._bytes_max, timeout
            )

    def take(self, rows_max: int, bytes_max: int) -> tuple[TaskRecords, ...]:
        """Remove and return up to ``rows_max`` rows, oldest first, grouped by task epoch. An entry may be split.

        Keys and values have at most ``bytes_max`` bytes together, but at least one row is taken, whatever its size.
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

    def oldest(self) -> dict[TopicPartition, tuple[int, int]]:
        """Return offset and timestamp (ms) of the oldest queued record of each partition."""
        found: dict[TopicPartition, tuple[int, int]] = {}
        with self._lock:
            for _, _, run in self._runs:
                if len(run) and run.source not in found:
                    found[run.source] = (int(run.offsets[0]), int(run.arrived_ms[0]))
        return found

    def discard(self, tasks: set[TaskId]) -> None:
        """Remove the queued records of these tasks."""
        with self._lock:
            self._runs = deque(entry for entry in self._runs if entry[0] not in tasks)
            self._rows = sum(len(run) for _, _, run in self._runs)
            self._payload_bytes = sum(run.payload_bytes for _, _, run in self._runs)
            self._room.notify_all()
