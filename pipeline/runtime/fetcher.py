"""Fetches the records of the open tasks through a consumer that is in no group, whenever it is polled.

What is assigned changes by difference, always with explicit offsets; ``seek`` is never used, since it fails on
partitions that are not yet fetching. All changes run in the thread that polls, between two reads, so whatever a read
returns belongs to the assignment before or after a change, never to a mixture. Each assignment carries the epoch of
its task, and each run the epoch it was fetched under.
"""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
from confluent_kafka import Consumer, Message
from confluent_kafka import TopicPartition as KafkaTopicPartition

from pipeline.kafka import clients
from pipeline.records import Headers, PartitionRecords, TaskId, TopicPartition
from pipeline.runtime.poll_result import by_partition, split_poll_result
from pipeline.runtime.record_queues import RecordQueues
from pipeline.settings import KafkaSettings, WorkerSettings

READ_ROWS_MAX = 4096
_TIME = itemgetter(1)  # of a record's kind of time stamp, and the time stamp


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
        self._make: Callable[[], Consumer] = lambda: clients.reader(
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
        self._consumer = self._make()
        self._inbox = inbox
        self._on_trouble = on_trouble
        self._places: dict[TopicPartition, FetchPosition] = {}
        self._reached: dict[TopicPartition, int] = {}  # the next offset of the last run of each source
        self._changes: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()

    def look_up(self, topics: list[str]) -> None:
        """Ask for the leaders of topics, so that the first assignment finds them known."""
        for topic in topics:
            self._consumer.list_topics(topic, timeout=10)

    def poll(self, timeout: float) -> bool:
        """Read what there is; wait up to ``timeout`` seconds for a first record. Return whether anything was read.

        Nothing is read while the inbox is full. Call it in one thread.
        """
        self._apply_changes()
        if not self._inbox.wait_for_room(0):
            return False
        fetched = list(self._runs(self._read(timeout)))
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
        self._consumer.incremental_assign(
            [KafkaTopicPartition(s.topic, s.partition, place.offset) for s, place in places.items()]
        )

    def _drop(self, sources: list[TopicPartition]) -> None:
        held = [source for source in sources if self._places.pop(source, None) is not None]
        if held:
            self._consumer.incremental_unassign([KafkaTopicPartition(*source) for source in held])

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

    def _read(self, timeout: float) -> list[Message]:
        # consume(n, t) waits the whole of t unless n records are there; poll returns with the first one.
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        return [first, *self._consumer.consume(READ_ROWS_MAX - 1, 0)]

    def _runs(self, messages: list[Message]) -> Iterator[tuple[TaskId, int, PartitionRecords]]:
        one_topic = len({source.topic for source in self._places}) <= 1
        for source, theirs in by_partition(messages, one_topic=one_topic):
            place = self._places.get(source)
            run = self._run_of(source, theirs) if place is not None else None
            if place is not None and run is not None:
                yield place.task, place.epoch, run

    def _run_of(self, source: TopicPartition, messages: list[Message]) -> PartitionRecords | None:
        records, end, troubles = split_poll_result(messages)
        for error in troubles:
            self._on_trouble(source, error.str())
        if not records and end is None:
            return None
        next_offset = max(records[-1].offset() + 1 if records else 0, end or 0)
        if not records and next_offset <= self._reached[source]:
            return None  # the end again, and nothing read since
        self._reached[source] = next_offset
        return PartitionRecords(
            source,
            next_offset,
            np.fromiter(map(Message.offset, records), np.int64, len(records)),
            np.fromiter(map(_TIME, map(Message.timestamp, records)), np.int64, len(records)),
            list(map(Message.key, records)),
            list(map(Message.value, records)),
            _headers_of(records),
        )


def _headers_of(records: list[Message]) -> Callable[[int], Headers]:
    return lambda row: records[row].headers() or ()
