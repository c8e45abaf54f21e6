"""Who is told what the runtime of a worker sees and does."""

from collections.abc import Mapping
from typing import Literal, Protocol

from pipeline.records import TopicPartition

Move = Literal["gained", "gave up", "lost", "opened"]


class RuntimeObserver(Protocol):
    """Told from any of the runtime's threads. Each call returns at once and raises nothing."""

    def looked(self, ends: Mapping[TopicPartition, int]) -> None:
        """See the log ends of the owned partitions, every other second; none while Kafka does not say."""
        ...

    def moved(self, change: Move, partitions: list[int]) -> None:
        """See that the group gave partitions or took them, or that their tasks run from now on."""
        ...
