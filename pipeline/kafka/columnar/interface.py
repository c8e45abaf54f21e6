"""What both implementations of each direction do."""

from collections.abc import Collection, Mapping
from typing import Protocol

from pipeline.kafka.columnar.results import Appended, Polled
from pipeline.records import OutputRecords, TopicPartition


class BatchConsumer(Protocol):
    """A consumer that is in no group and reads assigned partitions from explicit offsets. For one thread at a time.

    Changes of assignment raise KafkaException. What a poll returns belongs to the assignment at its start.
    """

    def look_up(self, topic: str, timeout: float) -> None:
        """Learn the leaders of a topic, so that fetching starts at once. Raises KafkaException."""
        ...

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these sources too, each from its offset on."""
        ...

    def unassign(self, sources: Collection[TopicPartition]) -> None:
        """Read these sources no more: no later poll returns a record of them."""
        ...

    def pause(self, sources: Collection[TopicPartition]) -> None:
        """Return no records of these sources until they are resumed."""
        ...

    def resume(self, sources: Collection[TopicPartition]) -> None:
        """Go on with paused sources where the last poll ended."""
        ...

    def poll(self, timeout: float, *, rows_max: int, bytes_max: int) -> Polled:
        """Wait up to ``timeout`` seconds for the first record, then take what is there.

        Stops at ``rows_max`` rows, and before the bytes of keys and values are expected to exceed ``bytes_max`` from
        the size of the largest record seen lately. Where records suddenly become larger the excess is bounded by what
        the client prefetches (``queued.max.messages.kbytes``). One record is returned whatever its size.
        """
        ...

    def close(self) -> None:
        """Close; may take seconds while brokers are away."""
        ...


class BatchProducer(Protocol):
    """Appends columns to the queue of a transactional producer. For the thread that uses that producer."""

    def append(self, records: OutputRecords, first: int = 0) -> Appended:
        """Append the rows from ``first`` on, in order, until the end or the first error. Never blocks."""
        ...
