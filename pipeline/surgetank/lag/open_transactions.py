"""Measures how long open transactions of producers hold the readers of committed records back. Pure.

A reader of committed records stops at the last stable offset: the first record of the oldest open transaction. All
records from there to the high watermark wait, also those that other producers finished. If a producer is gone without
ending its transaction, they wait until the broker aborts it, or for good if it never does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from surgetank.records import TopicPartition

LONG_SECONDS = 60.0  # the default transaction timeout of Kafka's producers; a worker warns from here on


class HeldBack(NamedTuple):
    """The records between the last stable offset and the high watermark, and since when the former stands still."""

    records: int
    seconds: float


@dataclass(slots=True)
class OpenTransactions:
    """The last stable offset of each partition at the last evaluation. Times are seconds on one monotonic clock."""

    _stable: dict[TopicPartition, int] = field(default_factory=dict)
    _since: dict[TopicPartition, float] = field(default_factory=dict)

    def unchanged(self, stable: Mapping[TopicPartition, int]) -> list[TopicPartition]:
        """Return the partitions whose last stable offset is that of the last evaluation: no other can be held back."""
        return [source for source, offset in stable.items() if self._stable.get(source) == offset]

    def evaluate(
        self, now: float, stable: Mapping[TopicPartition, int], high: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, HeldBack]:
        """Add the last stable offsets and high watermarks; return the partitions where the latter is greater.

        A partition without a high watermark has no open transaction. Partitions that are left out are forgotten.
        """
        found: dict[TopicPartition, HeldBack] = {}
        for source in self._held(stable, high):
            since = self._since.get(source, now) if self._stable.get(source) == stable[source] else now
            found[source] = HeldBack(high[source] - stable[source], now - since)
        self._since = {source: now - each.seconds for source, each in found.items()}
        self._stable = dict(stable)
        return found

    @staticmethod
    def _held(stable: Mapping[TopicPartition, int], high: Mapping[TopicPartition, int]) -> Iterable[TopicPartition]:
        return [source for source, offset in stable.items() if high.get(source, offset) > offset]
