"""What goes into a transaction: the outputs of each batch, and all that is open together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.records import OutputPartition, OutputRecords, StateChanges, TaskEpoch, TaskRecords, TopicPartition

CommittedOffsets = Mapping[TaskEpoch, Mapping[TopicPartition, int]]  # by task, the offsets that were committed


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Records that are processed together, of any number of tasks. ``number`` is that of ProcessBatch."""

    number: int
    slices: tuple[TaskRecords, ...]

    def __len__(self) -> int:
        return sum(len(piece) for piece in self.slices)


@dataclass(frozen=True, slots=True)
class BatchOutput:
    """What one batch came to: the records to produce, and what to count once they are committed."""

    outgoing: Sequence[OutputRecords]
    arrived_ms: npt.NDArray[np.int64]  # int64 [n]: when each scored event arrived in Kafka
    scored: int
    changes: StateChanges = field(default_factory=StateChanges)


@dataclass(slots=True)
class OpenTransaction:
    """What the open transaction holds."""

    since: float
    tasks: set[TaskEpoch] = field(default_factory=set)
    touched: set[OutputPartition] = field(default_factory=set)
    arrived_ms: list[npt.NDArray[np.int64]] = field(default_factory=list)
    scored: dict[str, int] = field(default_factory=dict)
    writes: dict[TaskEpoch, int] = field(default_factory=dict)  # the last write to each task's tables
    reached: dict[OutputPartition, int] = field(default_factory=dict)  # by changelog partition: behind its last record
