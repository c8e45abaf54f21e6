"""The order of records some of which wait until the schema that they were written with is known."""

from collections.abc import Callable, Sequence
from typing import Protocol

from surgetank.records import PartitionRecords
from surgetank.runtime.record_order import ArrivalOrder, QueuedRecords


class SchemaGate(Protocol):
    """Knows the schemas of records."""

    def ready_rows(self, records: PartitionRecords) -> int:
        """Return how many of the first records can be decoded now; look the schemas of the others up."""
        ...

    def why_waiting(self) -> str:
        """Return why records wait, for people."""
        ...

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call a function, in another thread, whenever more records may be ready."""
        ...


class KnownSchemasOrder:
    """A ``RecordOrder``: records are processed as they were fetched, up to the first whose schema is not known.

    There the task waits: no later record of it overtakes.
    """

    def __init__(self, gate: SchemaGate) -> None:
        self._gate = gate
        self._arrival = ArrivalOrder()

    def next(self, oldest: Sequence[QueuedRecords]) -> tuple[QueuedRecords, int] | None:
        """Return the records that were fetched first, as far as their schemas are known; None if the first is not."""
        first, rows = self._arrival.next(oldest)
        ready = self._gate.ready_rows(first.records)
        return (first, min(ready, rows)) if ready or not rows else None
