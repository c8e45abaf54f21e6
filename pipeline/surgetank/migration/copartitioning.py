"""Compares how the keys of two topics are partitioned, from samples of their keys. Pure.

A table is updated from one partition of its facts and read for the events in the partition of the same number, so a key
must have the same number in both: the producers of both must use the same partitioner.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from surgetank.migration.partitioners import PARTITIONERS

CHANCE_MAX = 1e-9  # that keys of another partitioner lie where a known one would put them
CHANCE_SAME_MAX = 1e-3  # the same, where only a warning depends on it
_ALL = 1 << 32


class Copartitioning(IntEnum):
    """Whether two topics have the same keys in partitions of the same number. The numbers are those of the metric."""

    SAME = 0
    UNKNOWN = 1
    DIFFERENT = 2


@dataclass(frozen=True, slots=True)
class KeySample:
    """Keys of a topic with ``partitions`` partitions, and the partition of each."""

    topic: str
    partitions: int
    keys: Mapping[bytes, int]

    @classmethod
    def of(cls, topic: str, partitions: int, keys: Iterable[tuple[bytes, int]]) -> "KeySample":
        """Return the sample without the keys that are in several partitions, as after a topic was given more."""
        found: dict[bytes, int] = {}
        several: set[bytes] = set()
        for key, partition in keys:
            if found.setdefault(key, partition) != partition:
                several.add(key)
        return cls(topic, partitions, {key: number for key, number in found.items() if key not in several})

    def partitioner(self) -> str | None:
        """Return the name of the only partitioner that explains all keys; None if there is none, or too few keys.

        Keys may lie where the partitioner has put them among fewer partitions: topics grow.
        """
        names = [name for name in PARTITIONERS if self._explained(name)]
        return names[0] if len(names) == 1 else None

    def fits(self, name: str) -> bool:
        """Return whether all keys, and not too few, are where this partitioner puts them."""
        partitioner = PARTITIONERS[name]
        return self.is_significant(len(self.keys)) and all(
            partitioner(key, self.partitions) == partition for key, partition in self.keys.items()
        )

    def is_significant(self, keys: int) -> bool:
        """Return whether this many keys are unlikely to be in the same partitions by two partitioners."""
        return (1 / self.partitions) ** keys <= CHANCE_SAME_MAX

    def _explained(self, name: str) -> bool:
        hashed = [(PARTITIONERS[name](key, _ALL), partition) for key, partition in self.keys.items()]
        for fewer in range(self.partitions, 1, -1):
            counts = {self.partitions, fewer}
            if (len(counts) / self.partitions) ** len(hashed) > CHANCE_MAX:
                return False
            if all(any(value % count == partition for count in counts) for value, partition in hashed):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result for a topic of facts, and its reason in words."""

    topic: str
    result: Copartitioning
    why: str


def compare(events: KeySample, facts: KeySample) -> Comparison:
    """Compare the partitioners of facts and events, which have the same number of partitions."""

    def found(result: Copartitioning, why: str) -> Comparison:
        return Comparison(facts.topic, result, why)

    if facts.partitions == 1:
        return found(Copartitioning.SAME, "there is one partition")
    of_events, of_facts = events.partitioner(), facts.partitioner()
    if of_events is not None and of_facts is not None:
        reason = f"{events.topic} is partitioned by {of_events} and {facts.topic} by {of_facts}"
        return found(Copartitioning.SAME if of_events == of_facts else Copartitioning.DIFFERENT, reason)
    known, other = (of_events, facts) if of_events is not None else (of_facts, events)
    if known is not None and other.fits(known):
        return found(Copartitioning.SAME, f"the {len(other.keys)} keys of {other.topic} are where {known} puts them")
    shared = events.keys.keys() & facts.keys.keys()
    moved = sum(events.keys[key] != facts.keys[key] for key in shared)
    if not moved and facts.is_significant(len(shared)):
        return found(Copartitioning.SAME, f"{len(shared)} keys are in partitions of the same number in both")
    samples = (
        f"the partitioner of {sample.topic} is not known from {len(sample.keys)} keys"
        for sample, name in ((events, of_events), (facts, of_facts))
        if name is None
    )
    both = f"; of {len(shared)} keys that are in both samples, {moved} are in different partitions" if shared else ""
    return found(Copartitioning.UNKNOWN, ", ".join(samples) + both)
