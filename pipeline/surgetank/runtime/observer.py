"""The interface through which the runtime of a worker reports log end offsets and task changes."""

from collections.abc import Mapping
from typing import Literal, Protocol

from surgetank.records import TopicPartition

Move = Literal["gained", "gave up", "lost", "opened"]


class RuntimeObserver(Protocol):
    """Callbacks from any of the runtime's threads. Each must return at once and raise nothing."""

    def looked(self, ends: Mapping[TopicPartition, int]) -> None:
        """Receive the end offsets of the owned partitions every 2 s; empty while they are unknown."""
        ...

    def moved(self, change: Move, partitions: list[int]) -> None:
        """Receive a change of partitions: assigned, revoked or lost, or their tasks started running."""
        ...

    def expired(self, source: TopicPartition, records: int) -> None:
        """Receive the number of records of a partition that retention deleted before they were read."""
        ...
