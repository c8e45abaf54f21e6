"""Fetches the records of running tasks, when polled, through a consumer that is in no group.

The assignment changes incrementally, always with explicit offsets; ``seek`` is never used, since it fails on
partitions that are not yet fetching. All changes run in the polling thread, between two reads, so a read returns
records of the assignment before or after a change, never of both. Each assignment carries the epoch of its task, and
records carry the epoch under which they were fetched.
"""

import queue
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from surgetank.clock import Clock
from surgetank.kafka import clients
from surgetank.kafka.columnar.interface import BatchConsumer
from surgetank.kafka.columnar.results import Polled
from surgetank.kafka.columnar.select import batch_consumer
from surgetank.records import PartitionRecords, TaskId, TopicPartition
from surgetank.runtime.fetch_turns import FetchTurns
from surgetank.runtime.record_queues import RecordQueues
from surgetank.settings import KafkaSettings, WorkerSettings

READ_ROWS_MAX = 4096
READ_BYTES_MAX = 16 << 20  # of keys, values and headers


@dataclass(frozen=True, slots=True)
class FetchPosition:
    """The offset from which to fetch a partition, and the task and epoch to fetch it for."""

    task: TaskId
    epoch: int
    offset: int


class Fetcher:
    """Reads into record queues.

    In the polling thread ``on_fetched`` is called with what was read, ``on_trouble`` when a partition cannot be read.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        worker: WorkerSettings,
        *,
        group: str,
        client_id: str,
        queues: RecordQueues,
        on_fetched: Callable[[list[PartitionRecords]], None],
        on_trouble: Callable[[TopicPartition, str], None],
        clock: Clock,
    ) -> None:
        self._make: Callable[[], BatchConsumer] = lambda: batch_consumer(
            clients.reader_options(
                kafka,
                group_id=group,
                client_id=f"{client_id}-fetcher",
                enable_partition_eof=True,
                auto_offset_reset="error",
                queued_max_messages_kbytes=worker.fetch_buffer_kilobytes,
                # Per partition: a partition with a backlog must not fill the whole prefetch buffer.
                queued_min_messages=20_000,
                # With the default of one second, a full prefetch buffer is empty long before it is refilled.
                fetch_queue_backoff_ms=5,
                fetch_error_backoff_ms=100,
                fetch_wait_max_ms=100,
            )
        )
        self._consumer = self._make()
        # Half of the consumer's queue: a read may end between the records of one response.
        self._full_bytes = min(READ_BYTES_MAX, worker.fetch_buffer_kilobytes << 9)
        self._queues = queues
        self._clock = clock
        self._turns = FetchTurns()
        self._on_fetched = on_fetched
        self._on_trouble = on_trouble
        self._positions: dict[TopicPartition, FetchPosition] = {}
        self._paused: set[TopicPartition] = set()
        self._reached: dict[TopicPartition, int] = {}  # by partition: the next offset to read
        self._changes: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()

    def look_up(self, topics: list[str]) -> None:
        """Fetch the metadata of the topics, so that their leaders are known at the first assignment."""
        for topic in topics:
            self._consumer.look_up(topic, 10)

    def poll(self, timeout: float) -> int:
        """Read the available records; wait up to ``timeout`` seconds for the first. Return how many were read.

        Reads nothing while the record queues are full, and nothing of tasks whose queues are paused. For one thread at
        a time.
        """
        self._apply_changes()
        held = self._of_tasks(self._queues.paused())
        if not self._queues.wait_for_room(0):
            self._pause(held)
            return 0
        self._pause(held | self._turns.begin_read(self._clock.monotonic(), held))
        read = self._read(timeout).records
        delivered = [each.source for each in read if len(each)]
        self._turns.end_read(self._clock.monotonic(), delivered, full=self._full(read))
        fetched = list(self._current(read))
        if fetched:
            self._queues.put(fetched)
            self._on_fetched([records for _, _, records in fetched])
        return sum(len(records) for _, _, records in fetched)

    def assign(self, positions: dict[TopicPartition, FetchPosition]) -> Future[None]:
        """Add these partitions to the assignment, from their positions on."""
        return self._change(lambda: self._assign(positions))

    def drop(self, sources: list[TopicPartition]) -> Future[None]:
        """Remove these partitions from the assignment at the next poll."""
        return self._change(lambda: self._drop(sources))

    def renew(self) -> Future[None]:
        """Replace the consumer at the next poll: a consumer that stalled after an outage does not recover."""
        return self._change(self._renew)

    def stop(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _change(self, change: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        self._changes.put((change, done))
        return done

    def _assign(self, positions: dict[TopicPartition, FetchPosition]) -> None:
        again = [source for source in positions if source in self._positions]
        self._drop(again)
        self._positions |= positions
        self._turns.add(self._clock.monotonic(), positions)
        self._reached |= {source: position.offset for source, position in positions.items()}
        self._consumer.assign({source: position.offset for source, position in positions.items()})

    def _drop(self, sources: list[TopicPartition]) -> None:
        held = [source for source in sources if self._positions.pop(source, None) is not None]
        if held:
            self._turns.remove(held)
            self._resume(self._paused & set(held))
            self._consumer.unassign(held)

    def _of_tasks(self, tasks: set[TaskId]) -> set[TopicPartition]:
        if not tasks:
            return set()
        return {source for source, position in self._positions.items() if position.task in tasks}

    def _pause(self, sources: set[TopicPartition]) -> None:
        """Pause these partitions; resume all others."""
        self._resume(self._paused - sources)
        if added := sources - self._paused:
            self._consumer.pause(added)
            self._paused |= added

    def _resume(self, sources: set[TopicPartition]) -> None:
        if sources:
            self._consumer.resume(sources)
            self._paused -= sources

    def _renew(self) -> None:
        clients.close_in_background(self._consumer)
        self._consumer = self._make()
        positions = {
            source: replace(position, offset=self._reached[source]) for source, position in self._positions.items()
        }
        self._positions, self._paused = {}, set()
        self._assign(positions)

    def _apply_changes(self) -> None:
        while True:
            try:
                change, done = self._changes.get_nowait()
            except queue.Empty:
                return
            try:
                change()
            except Exception as error:  # noqa: BLE001 - the future passes it to the caller
                done.set_exception(error)
            else:
                done.set_result(None)

    def _full(self, read: Collection[PartitionRecords]) -> bool:
        """Return whether the consumer's queue may have been full before this was read."""
        rows, payload_bytes = sum(map(len, read)), sum(each.payload_bytes for each in read)
        return rows >= READ_ROWS_MAX or payload_bytes >= self._full_bytes

    def _read(self, timeout: float) -> Polled:
        polled = self._consumer.poll(timeout, rows_max=READ_ROWS_MAX, bytes_max=READ_BYTES_MAX)
        for source, error in polled.errors:
            if source in self._positions:
                self._on_trouble(source, error.str())
        return polled

    def _current(self, read: Iterable[PartitionRecords]) -> Iterator[tuple[TaskId, int, PartitionRecords]]:
        """Yield the records of assigned partitions; omit end-of-partition events that were already reported."""
        for records in read:
            position = self._positions.get(records.source)
            if position is None or (not len(records) and records.next_offset <= self._reached[records.source]):
                continue
            self._reached[records.source] = records.next_offset
            yield position.task, position.epoch, records
