"""What goes into a transaction: the outputs of each work, and all that is open together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.batch import Changes, Life, Outgoing, Source
from pipeline.tasks.sweep import Output

Commitment = Mapping[Life, Mapping[Source, int]]  # by task, the offsets that were committed


@dataclass(frozen=True, slots=True)
class Emission:
    """What one work came to: the records to produce, and what to count once they are committed."""

    outgoing: Sequence[Outgoing]
    arrived_ms: npt.NDArray[np.int64]  # int64 [n]: when each scored event arrived in Kafka
    scored: int
    changes: Changes = field(default_factory=Changes)


@dataclass(slots=True)
class Open:
    """What the open transaction holds."""

    since: float
    lives: set[Life] = field(default_factory=set)
    claims: dict[Life, dict[Source, int]] = field(default_factory=dict)
    touched: set[Output] = field(default_factory=set)
    arrived_ms: list[npt.NDArray[np.int64]] = field(default_factory=list)
    scored: dict[str, int] = field(default_factory=dict)
    writes: dict[Life, int] = field(default_factory=dict)  # the last write to each task's tables
    reached: dict[Output, int] = field(default_factory=dict)  # by changelog partition: behind its last record
