"""Batches of a constant size at most. ``latency_batch_sizer.py`` has batches that hold a latency target."""

from collections.abc import Sequence

from surgetank.batch_sizing import BatchSizer, BatchTimes

__all__ = ["BatchSizer", "FixedBatchSizer"]


class FixedBatchSizer:
    """A ``BatchSizer`` with a constant size."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max

    def rows_max(self) -> int:
        """Return the constant."""
        return self._rows_max

    def backlog_rows(self) -> int:
        """Return the constant: more rows than one batch can take."""
        return self._rows_max

    def waiting(self, rows: int, now: float) -> None:
        """Ignore it."""

    def computed(self, rows: int, seconds: float) -> None:
        """Ignore it."""

    def committed(self, batches: Sequence[BatchTimes], seconds: float) -> None:
        """Ignore it."""
