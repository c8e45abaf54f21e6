"""The totals of the open transaction, and the offsets of a committed one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from surgetank.records import OutputPartition, TaskEpoch, TopicPartition

CommittedOffsets = Mapping[TaskEpoch, Mapping[TopicPartition, int]]  # by task epoch: committed offset by partition


@dataclass(slots=True)
class OpenTransaction:
    """The contents of the open transaction. ``since`` is in monotonic seconds."""

    since: float
    tasks: set[TaskEpoch] = field(default_factory=set)
    touched: set[OutputPartition] = field(default_factory=set)
    batches: list[int] = field(default_factory=list)  # their numbers
    arrived_ms: list[npt.NDArray[np.int64]] = field(default_factory=list)
    scored: dict[str, int] = field(default_factory=dict)
    rekeyed: dict[str, int] = field(default_factory=dict)
    on_committed: list[Callable[[], None]] = field(default_factory=list)
    writes: dict[TaskEpoch, int] = field(default_factory=dict)  # number of the last write to each task's tables
    reached: dict[OutputPartition, int] = field(default_factory=dict)  # by changelog partition: last offset + 1
