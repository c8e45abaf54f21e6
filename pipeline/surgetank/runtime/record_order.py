"""Decides in which order the records of a task are processed."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from surgetank.records import PartitionRecords


class QueuedRecords(NamedTuple):
    """Records of one partition in a queue; ``arrival`` numbers them in the order in which they were fetched.

    ``payload_bytes`` are the bytes of their keys, values and headers.
    """

    arrival: int
    records: PartitionRecords
    payload_bytes: int


class RecordOrder(Protocol):
    """The order of a task's records. Pure. The records of one partition are never re-ordered."""

    def next(self, oldest: Sequence[QueuedRecords]) -> tuple[QueuedRecords, int] | None:
        """Return the records to process next, and how many of their rows precede those of all other partitions.

        ``oldest`` has the oldest queued records of each partition of the task, at least one. There is at least one such
        row unless the records are empty. None: the task waits until further records arrive or the queues are woken.
        """
        ...


class ArrivalOrder:
    """A ``RecordOrder``: records are processed as they were fetched, and no task waits."""

    def next(self, oldest: Sequence[QueuedRecords]) -> tuple[QueuedRecords, int]:
        """Return the records that were fetched first, whole."""
        first = min(oldest) if len(oldest) > 1 else oldest[0]
        return first, len(first.records)
