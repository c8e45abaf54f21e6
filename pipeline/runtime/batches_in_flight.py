"""Batches from their hand-out to the commit of their outputs. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from pipeline.records import TaskEpoch, TopicPartition


class BatchStage(Enum):
    """How far a batch has come."""

    COMPUTING = auto()
    PRODUCING = auto()  # its outputs wait for the producer, or are in part in the open transaction
    PRODUCED = auto()  # its outputs are in the open transaction


@dataclass(slots=True)
class BatchInFlight:
    """The records of a batch by task: for each partition the id under which its OffsetTracker knows them."""

    records: Mapping[TaskEpoch, tuple[tuple[TopicPartition, int], ...]]
    rows: int
    stage: BatchStage = BatchStage.COMPUTING


class BatchesInFlight:
    """Batches by their number. Numbers rise and never come twice."""

    def __init__(self) -> None:
        self._batches: dict[int, BatchInFlight] = {}
        self._last = 0

    def add(self, records: Mapping[TaskEpoch, tuple[tuple[TopicPartition, int], ...]], rows: int) -> int:
        """Note a batch that is handed out; return its number."""
        self._last += 1
        self._batches[self._last] = BatchInFlight(records, rows)
        return self._last

    def get(self, number: int, stage: BatchStage) -> BatchInFlight | None:
        """Return a batch that is at this stage; None if there is no such batch."""
        found = self._batches.get(number)
        return found if found is not None and found.stage is stage else None

    def remove(self, number: int) -> None:
        """Forget a batch of which nothing is in a transaction."""
        self._batches.pop(number, None)

    def at(self, stage: BatchStage) -> list[BatchInFlight]:
        """Return the batches at a stage, oldest first."""
        return [batch for batch in self._batches.values() if batch.stage is stage]

    def clear(self) -> None:
        """Forget all batches: their transaction was aborted."""
        self._batches.clear()

    def remove_produced(self) -> int:
        """Forget the batches of a transaction that is committed; return how many rows they had."""
        produced = {number: batch for number, batch in self._batches.items() if batch.stage is BatchStage.PRODUCED}
        for number in produced:
            del self._batches[number]
        return sum(batch.rows for batch in produced.values())

    def tasks(self, stages: Iterable[BatchStage]) -> set[TaskEpoch]:
        """Return the tasks that have records in batches at these stages."""
        wanted = set(stages)
        return {task for batch in self._batches.values() if batch.stage in wanted for task in batch.records}
