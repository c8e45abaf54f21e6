"""The protocol of a batch sizer, and the times of a batch that the runtime reports to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """A committed batch of ``rows`` rows, taken from the queues at ``taken_at`` (monotonic seconds).

    ``taken_age`` and ``committed_age`` are the seconds from the arrival of its oldest event in Kafka until the batch
    was taken, and until its transaction was committed.
    """

    rows: int
    taken_at: float
    taken_age: float
    committed_age: float


class BatchSizer(Protocol):
    """Decides the size of the next batch, and learns from the batches of the worker. For several threads at a time."""

    def rows_max(self) -> int:
        """Return the largest number of rows of the next batch, at least 1."""
        ...

    def backlog_rows(self) -> int:
        """Return how many waiting rows mean that the worker lags: then it commits once per commit interval."""
        ...

    def waiting(self, rows: int, now: float) -> None:
        """Take the number of rows that wait, just before a batch is taken at ``now`` (monotonic seconds)."""
        ...

    def computed(self, rows: int, seconds: float) -> None:
        """Take the size of a batch, and the time from its being taken until its outputs were computed."""
        ...

    def committed(self, batches: Sequence[BatchTimes], seconds: float) -> None:
        """Take the batches of a transaction, and the time from the begin of its commit until its end."""
        ...
