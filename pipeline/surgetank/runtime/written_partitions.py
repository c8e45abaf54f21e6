"""The partitions that the transactions of a pipeline write to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from surgetank.declaration import Pipeline
from surgetank.records import OutputPartition


@dataclass(frozen=True, slots=True)
class WrittenPartitions:
    """Of each topic in ``outputs``, scores first, a task writes to the partition with its own number.

    ``copies`` are the partitions of source topics to which every task may send records again, with another key.
    """

    outputs: tuple[str, ...]
    copies: frozenset[OutputPartition] = frozenset()

    def of_tasks(self, partitions: Iterable[int]) -> set[OutputPartition]:
        """Return the output partitions of the tasks with these partition numbers, without ``copies``."""
        return {(topic, partition) for partition in partitions for topic in self.outputs}

    def swept_for(self, partitions: Iterable[int]) -> set[OutputPartition]:
        """Return where a worker that had these tasks may have left a hanging transaction."""
        return self.of_tasks(partitions) | self.copies


def copies_of(pipeline: Pipeline, existing: Mapping[str, int]) -> frozenset[OutputPartition]:
    """Return the partitions of the topics that a pipeline re-keys; ``existing``: the partitions of each topic."""
    return frozenset((topic, number) for topic in pipeline.rekeyed for number in range(existing.get(topic, 0)))
