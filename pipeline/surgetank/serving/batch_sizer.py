"""Decides how many rows a batch may have."""

from typing import Protocol


class BatchSizer(Protocol):
    """Decides the size of the next batch. Several threads may call it at a time."""

    def rows_max(self) -> int:
        """Return the largest number of rows of the next batch, at least 1."""
        ...


class FixedBatchSizer:
    """A ``BatchSizer`` with a constant size."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max

    def rows_max(self) -> int:
        """Return the constant."""
        return self._rows_max
