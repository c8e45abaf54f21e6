"""How keys moved when a pipeline was given more partitions, and where the events of a key lie since. Pure.

Beside each changelog's rows stands, under GROWN, which numbers of partitions there were before, and at which offsets
the topics ended then. A table is fed from one partition of its topic, but what is worked out anew needs the events of
the partitions in which its keys lay before.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import StateCorrupt
from pipeline.migration.partitioners import PARTITIONERS


@dataclass(frozen=True, slots=True)
class PartitionEra:
    """A time with so many partitions. ``until`` are by topic the offsets, by partition, at which it ended."""

    partitions: int
    until: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Records of a partition of a topic, from ``start`` up to ``end``; ``shared``: with keys of other tasks too."""

    partition: int
    start: int
    end: int
    shared: bool


@dataclass(frozen=True, slots=True)
class PartitionHistory:
    """By which partitioner keys moved, and the stages before, oldest first."""

    partitioner: str
    stages: tuple[PartitionEra, ...]

    def home(self, key: bytes, partitions: int) -> int:
        """Return the partition of a key, of so many."""
        return PARTITIONERS[self.partitioner](key, partitions)

    def dump(self) -> bytes:
        """Return the value of a record under GROWN."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def load(cls, value: bytes) -> "PartitionHistory":
        """Read what ``dump`` wrote. Raises StateCorrupt for anything else."""
        try:
            return cls.of(json.loads(value))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StateCorrupt(f"what a changelog says of its growth cannot be read ({error!r})") from None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "PartitionHistory":
        """Return it from plain values, as ``dataclasses.asdict`` gives them."""
        stages = [
            PartitionEra(each["partitions"], {topic: tuple(until) for topic, until in each["until"].items()})
            for each in found["stages"]
        ]
        PARTITIONERS[found["partitioner"]]
        return cls(found["partitioner"], tuple(stages))


def stayed(value: bytes, partition: int) -> Callable[[bytes], bool]:
    """Return what tells which keys have always been in this partition. ``value`` is that of a record under GROWN.

    A row of another key may carry the offset of an event in another partition. Raises StateCorrupt as ``load`` does.
    """
    growth = PartitionHistory.load(value)
    return lambda key: all(growth.home(key, stage.partitions) == partition for stage in growth.stages)


def longest(found: Iterable[PartitionHistory | None]) -> PartitionHistory | None:
    """Return the one that knows most: a table that is younger than some growth knows nothing of it."""
    return max(filter(None, found), key=lambda growth: len(growth.stages), default=None)


def offset_ranges(growth: PartitionHistory | None, topic: str, task: int, end: int) -> list[OffsetRange]:
    """Return where the records of the keys of a task lie in a topic, in the order in which they were processed.

    ``end`` is where the task's own partition ends. Empty ones are left out.
    """
    found: list[OffsetRange] = []
    reached: dict[int, int] = {}
    for stage in growth.stages if growth else ():
        for partition, until in enumerate(stage.until.get(topic, ())):  # none: it was not read then
            found.append(OffsetRange(partition, reached.get(partition, 0), until, shared=True))
            reached[partition] = until
    found.append(OffsetRange(task, reached.get(task, 0), end, shared=False))
    return [each for each in found if each.start < each.end]


def era_of(growth: PartitionHistory | None, topic: str, partition: int, offset: int) -> int:
    """Return the number of the stage in which a record was processed."""
    stages = growth.stages if growth else ()
    for number, stage in enumerate(stages):
        until = stage.until.get(topic, ())
        if partition < len(until) and offset < until[partition]:
            return number
    return len(stages)
