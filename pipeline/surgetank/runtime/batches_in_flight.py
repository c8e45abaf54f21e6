"""Tracks batches from the start of processing to the commit of their outputs. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from surgetank.records import TaskEpoch, TopicPartition


class BatchStage(Enum):
    """The processing stage of a batch."""

    COMPUTING = auto()
    PRODUCING = auto()  # outputs wait for the producer, or some of them are in the open transaction
    PRODUCED = auto()  # all outputs are in the open transaction


@dataclass(slots=True)
class BatchInFlight:
    """The records of a batch by task epoch: partitions and the in-flight ids of their OffsetTracker."""

    records: Mapping[TaskEpoch, tuple[tuple[TopicPartition, int], ...]]
    rows: int
    stage: BatchStage = BatchStage.COMPUTING


class BatchesInFlight:
    """Batches by number. Numbers increase and are never reused."""

    def __init__(self) -> None:
        self._batches: dict[int, BatchInFlight] = {}
        self._last = 0

    def add(self, records: Mapping[TaskEpoch, tuple[tuple[TopicPartition, int], ...]], rows: int) -> int:
        """Add a batch in stage COMPUTING; return its number."""
        self._last += 1
        self._batches[self._last] = BatchInFlight(records, rows)
        return self._last

    def get(self, number: int, stage: BatchStage) -> BatchInFlight | None:
        """Return the batch with this number if it is at this stage, else None."""
        found = self._batches.get(number)
        return found if found is not None and found.stage is stage else None

    def remove(self, number: int) -> None:
        """Remove a batch that has no output in a transaction."""
        self._batches.pop(number, None)

    def at(self, stage: BatchStage) -> list[BatchInFlight]:
        """Return the batches at a stage, oldest first."""
        return [batch for batch in self._batches.values() if batch.stage is stage]

    def clear(self) -> None:
        """Remove all batches after their transaction was aborted."""
        self._batches.clear()

    def remove_produced(self) -> int:
        """Remove the batches of a committed transaction; return how many rows they had."""
        produced = {number: batch for number, batch in self._batches.items() if batch.stage is BatchStage.PRODUCED}
        for number in produced:
            del self._batches[number]
        return sum(batch.rows for batch in produced.values())

    def tasks(self, stages: Iterable[BatchStage]) -> set[TaskEpoch]:
        """Return the tasks that have records in batches at these stages."""
        wanted = set(stages)
        return {task for batch in self._batches.values() if batch.stage in wanted for task in batch.records}
