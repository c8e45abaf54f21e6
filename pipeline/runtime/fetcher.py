"""Fetches the records of the open tasks through a consumer that is in no group, whenever it is polled.

What is assigned changes by difference, always with explicit offsets; ``seek`` is never used, since it fails on
partitions that are not yet fetching. All changes run in the thread that polls, between two reads, so whatever a read
returns belongs to the assignment before or after a change, never to a mixture. Each assignment carries the epoch of
its task, and each run the epoch it was fetched under.
"""

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace

from pipeline.kafka import clients
from pipeline.kafka.columnar.interface import BatchConsumer
from pipeline.kafka.columnar.results import Polled
from pipeline.kafka.columnar.select import batch_consumer
from pipeline.records import PartitionRecords, TaskId, TopicPartition
from pipeline.runtime.record_queues import RecordQueues
from pipeline.settings import KafkaSettings, WorkerSettings

READ_ROWS_MAX = 4096
READ_BYTES_MAX = 16 << 20  # of keys and values


@dataclass(frozen=True, slots=True)
class FetchPosition:
    """Where to start fetching a source, and for whom."""

    task: TaskId
    epoch: int
    offset: int


class Fetcher:
    """Reads into an inbox. ``on_trouble`` is called, in the polling thread, when a source cannot be read on."""

    def __init__(
        self,
        kafka: KafkaSettings,
        worker: WorkerSettings,
        *,
        group: str,
        client_id: str,
        inbox: RecordQueues,
        on_trouble: Callable[[TopicPartition, str], None],
    ) -> None:
        self._make: Callable[[], BatchConsumer] = lambda: batch_consumer(
            clients.reader_options(
                kafka,
                group_id=group,
                client_id=f"{client_id}-fetcher",
                enable_partition_eof=True,
                auto_offset_reset="error",
                queued_max_messages_kbytes=worker.fetch_buffer_kilobytes,
                # Per partition: one with a backlog must not fill the whole prefetch while the others are live.
                queued_min_messages=20_000,
                # With the default of a second a full prefetch is not filled up again before it has long run dry.
                fetch_queue_backoff_ms=5,
                fetch_error_backoff_ms=100,
                fetch_wait_max_ms=100,
            )
        )
        self._consumer = self._make()
        self._inbox = inbox
        self._on_trouble = on_trouble
        self._places: dict[TopicPartition, FetchPosition] = {}
        self._reached: dict[TopicPartition, int] = {}  # the next offset of the last run of each source
        self._changes: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()

    def look_up(self, topics: list[str]) -> None:
        """Ask for the leaders of topics, so that the first assignment finds them known."""
        for topic in topics:
            self._consumer.look_up(topic, 10)

    def poll(self, timeout: float) -> bool:
        """Read what there is; wait up to ``timeout`` seconds for a first record. Return whether anything was read.

        Nothing is read while the record queues are full. Call it in one thread.
        """
        self._apply_changes()
        if not self._inbox.wait_for_room(0):
            return False
        fetched = list(self._current(self._read(timeout).records))
        if fetched:
            self._inbox.put(fetched)
        return bool(fetched)

    def assign(self, places: dict[TopicPartition, FetchPosition]) -> Future[None]:
        """Read these sources from their places on, also."""
        return self._change(lambda: self._assign(places))

    def drop(self, sources: list[TopicPartition]) -> Future[None]:
        """Read these sources no more, from the next poll on."""
        return self._change(lambda: self._drop(sources))

    def renew(self) -> Future[None]:
        """Go on with a new consumer: one that answers nothing any more, after an outage, is not to be mended."""
        return self._change(self._renew)

    def stop(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _change(self, change: Callable[[], None]) -> Future[None]:
        done: Future[None] = Future()
        self._changes.put((change, done))
        return done

    def _assign(self, places: dict[TopicPartition, FetchPosition]) -> None:
        again = [source for source in places if source in self._places]
        self._drop(again)
        self._places |= places
        self._reached |= {source: place.offset for source, place in places.items()}
        self._consumer.assign({source: place.offset for source, place in places.items()})

    def _drop(self, sources: list[TopicPartition]) -> None:
        held = [source for source in sources if self._places.pop(source, None) is not None]
        if held:
            self._consumer.unassign(held)

    def _renew(self) -> None:
        clients.close_in_background(self._consumer)
        self._consumer = self._make()
        places = {source: replace(place, offset=self._reached[source]) for source, place in self._places.items()}
        self._places = {}
        self._assign(places)

    def _apply_changes(self) -> None:
        while True:
            try:
                change, done = self._changes.get_nowait()
            except queue.Empty:
                return
            try:
                change()
            except Exception as error:  # noqa: BLE001 - it goes to whoever asked for the change
                done.set_exception(error)
            else:
                done.set_result(None)

    def _read(self, timeout: float) -> Polled:
        polled = self._consumer.poll(timeout, rows_max=READ_ROWS_MAX, bytes_max=READ_BYTES_MAX)
        for source, error in polled.errors:
            if source in self._places:
                self._on_trouble(source, error.str())
        return polled

    def _current(self, read: Iterable[PartitionRecords]) -> Iterator[tuple[TaskId, int, PartitionRecords]]:
        """Yield what was read of assigned sources, but no end of a partition that was reported already."""
        for records in read:
            place = self._places.get(records.source)
            if place is None or (not len(records) and records.next_offset <= self._reached[records.source]):
                continue
            self._reached[records.source] = records.next_offset
            yield place.task, place.epoch, records
