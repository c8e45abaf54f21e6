"""The history of a pipeline's partition counts, and the location of a key's events through it. Pure.

Each changelog partition holds, under ``PARTITION_HISTORY``, the earlier partition counts and the end offsets of the
topics at each change. A table is updated from one partition of its topic, but recomputing its rows needs the events of
all partitions that held its keys before.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from surgetank.errors import StateCorrupt
from surgetank.migration.partitioners import PARTITIONERS


@dataclass(frozen=True, slots=True)
class PartitionEra:
    """A period with a constant number of partitions. ``until`` has its end offsets, by topic and partition."""

    partitions: int
    until: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The offsets [start, end) of a partition; ``shared``: whether it also has keys of other tasks."""

    partition: int
    start: int
    end: int
    shared: bool


@dataclass(frozen=True, slots=True)
class PartitionHistory:
    """The partitioner of the keys, and the previous eras, oldest first."""

    partitioner: str
    stages: tuple[PartitionEra, ...]

    def home(self, key: bytes, partitions: int) -> int:
        """Return the partition of a key among ``partitions``."""
        return PARTITIONERS[self.partitioner](key, partitions)

    def dump(self) -> bytes:
        """Return the value of the record under ``PARTITION_HISTORY``."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def load(cls, value: bytes) -> "PartitionHistory":
        """Read the output of ``dump``. Raises StateCorrupt for anything else."""
        try:
            return cls.of(json.loads(value))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StateCorrupt(f"the partition history in a changelog cannot be read ({error!r})") from None

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "PartitionHistory":
        """Return a history from plain values, as ``dataclasses.asdict`` returns them."""
        stages = [
            PartitionEra(each["partitions"], {topic: tuple(until) for topic, until in each["until"].items()})
            for each in found["stages"]
        ]
        PARTITIONERS[found["partitioner"]]
        return cls(found["partitioner"], tuple(stages))


def unmoved_keys(value: bytes, partition: int) -> Callable[[bytes], bool]:
    """Return a filter of the keys that have always been in a partition, given a value under ``PARTITION_HISTORY``.

    A row of another key may carry the offset of an event in another partition. Raises StateCorrupt as ``load`` does.
    """
    growth = PartitionHistory.load(value)
    return lambda key: all(growth.home(key, stage.partitions) == partition for stage in growth.stages)


def longest(found: Iterable[PartitionHistory | None]) -> PartitionHistory | None:
    """Return the history with most eras: a table created after a change does not have the eras before."""
    return max(filter(None, found), key=lambda growth: len(growth.stages), default=None)


def offset_ranges(growth: PartitionHistory | None, topic: str, task: int, end: int) -> list[OffsetRange]:
    """Return the offset ranges of a topic that hold the keys of a task, in processing order, without empty ranges.

    ``end`` is the end offset of the task's own partition.
    """
    found: list[OffsetRange] = []
    reached: dict[int, int] = {}
    for stage in growth.stages if growth else ():
        for partition, until in enumerate(stage.until.get(topic, ())):  # empty if the topic was not a source then
            found.append(OffsetRange(partition, reached.get(partition, 0), until, shared=True))
            reached[partition] = until
    found.append(OffsetRange(task, reached.get(task, 0), end, shared=False))
    return [each for each in found if each.start < each.end]


def era_of(growth: PartitionHistory | None, topic: str, partition: int, offset: int) -> int:
    """Return the number of the era in which a record was processed."""
    stages = growth.stages if growth else ()
    for number, stage in enumerate(stages):
        until = stage.until.get(topic, ())
        if partition < len(until) and offset < until[partition]:
            return number
    return len(stages)
