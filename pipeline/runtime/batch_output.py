"""The contents of a transaction: the outputs of each batch, and the totals of the open transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.records import OutputPartition, OutputRecords, StateChanges, TaskEpoch, TaskRecords, TopicPartition

CommittedOffsets = Mapping[TaskEpoch, Mapping[TopicPartition, int]]  # by task epoch: committed offset by partition


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Records of any number of tasks, processed together. ``number`` is the batch number from ProcessBatch."""

    number: int
    slices: tuple[TaskRecords, ...]

    def __len__(self) -> int:
        return sum(len(piece) for piece in self.slices)


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """The outputs of one batch: the records to produce, and the figures to count after the commit."""

    outgoing: Sequence[OutputRecords]
    arrived_ms: npt.NDArray[np.int64]  # int64 [n]: when each scored event arrived in Kafka
    scored: int
    changes: StateChanges = field(default_factory=StateChanges)


@dataclass(slots=True)
class OpenTransaction:
    """The contents of the open transaction. ``since`` is in monotonic seconds."""

    since: float
    tasks: set[TaskEpoch] = field(default_factory=set)
    touched: set[OutputPartition] = field(default_factory=set)
    arrived_ms: list[npt.NDArray[np.int64]] = field(default_factory=list)
    scored: dict[str, int] = field(default_factory=dict)
    writes: dict[TaskEpoch, int] = field(default_factory=dict)  # number of the last write to each task's tables
    reached: dict[OutputPartition, int] = field(default_factory=dict)  # by changelog partition: last offset + 1
