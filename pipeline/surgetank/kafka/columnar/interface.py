"""The protocols of batch consumers and batch producers."""

from collections.abc import Collection, Mapping
from typing import Protocol

from surgetank.kafka.columnar.results import Appended, Polled
from surgetank.records import OutputRecords, TopicPartition


class BatchConsumer(Protocol):
    """A consumer without a group that reads assigned partitions from explicit offsets. For one thread at a time.

    Changes of assignment raise KafkaException. The result of a poll belongs to the assignment at its start.
    """

    def look_up(self, topic: str, timeout: float) -> None:
        """Fetch the metadata of a topic, so that fetching starts at once. Raises KafkaException."""
        ...

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Add these partitions to the assignment, each from its offset."""
        ...

    def unassign(self, sources: Collection[TopicPartition]) -> None:
        """Remove these partitions from the assignment: no later poll returns a record of them."""
        ...

    def pause(self, sources: Collection[TopicPartition]) -> None:
        """Return no records of these partitions until they are resumed."""
        ...

    def resume(self, sources: Collection[TopicPartition]) -> None:
        """Continue to read paused partitions where the last poll ended."""
        ...

    def poll(self, timeout: float, *, rows_max: int, bytes_max: int) -> Polled:
        """Wait up to ``timeout`` seconds for the first record, then return the available records.

        Stops at ``rows_max`` rows, and before the bytes of keys, values and headers are expected to exceed
        ``bytes_max``, as estimated from the largest recent record. If records suddenly become larger, the excess is
        bounded by the client's prefetch (``queued.max.messages.kbytes``). Returns one record whatever its size.

        An exception that ends a poll, as KeyboardInterrupt, may lose records that were already taken: the consumer has
        no position any more, and every later poll raises RuntimeError. Close it, and assign the positions after the
        last returned records to a new one.
        """
        ...

    def close(self) -> None:
        """Close, also after an exception ended a poll; may take seconds while brokers are unavailable."""
        ...


class BatchProducer(Protocol):
    """Appends columns to the queue of a transactional producer. Only for the thread that uses that producer."""

    def append(self, records: OutputRecords, first: int = 0) -> Appended:
        """Append the rows from ``first`` in order, until the end or the first error. Never blocks."""
        ...
