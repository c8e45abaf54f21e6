"""surgetank.runtime.fetcher: what becomes of what a consumer gives."""

from collections.abc import Callable, Collection

import numpy as np
import pytest
from confluent_kafka import KafkaError

from surgetank.clock import SystemClock
from surgetank.kafka.columnar.results import PartitionError, Polled
from surgetank.records import PartitionRecords, TaskId, TopicPartition, large_binary
from surgetank.runtime.fetcher import Fetcher, FetchPosition
from surgetank.runtime.record_order import ArrivalOrder
from surgetank.runtime.record_queues import RecordQueues
from surgetank.settings import KafkaSettings, WorkerSettings

HELD, OTHER = TopicPartition("events", 3), TopicPartition("events", 4)


def fetcher_of(troubles: list[tuple[TopicPartition, str]]) -> Fetcher:
    """Return a fetcher that reads HELD from offset 5 on."""
    fetcher = Fetcher(
        KafkaSettings(bootstrap="127.0.0.1:1"),
        WorkerSettings(),
        group="g",
        client_id="w",
        queues=RecordQueues(10, 1000, ArrivalOrder()),
        on_fetched=lambda _: None,
        on_trouble=lambda source, text: troubles.append((source, text)),
        clock=SystemClock(),
    )
    fetcher._assign({HELD: FetchPosition(TaskId("s", 3), 7, 5)})
    return fetcher


def read(source: TopicPartition, next_offset: int, *offsets: int) -> PartitionRecords:
    """Return records at these offsets."""
    n = len(offsets)
    places, empty = np.array(offsets, dtype=np.int64), large_binary([b""] * n)
    return PartitionRecords(source, next_offset, places, places, empty, empty)


def test_an_error_that_is_of_no_assigned_partition_stops_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the group of a client is refused, which it never joins: no record is lost and no task concerned."""
    troubles: list[tuple[TopicPartition, str]] = []
    fetcher = fetcher_of(troubles)
    errors = [
        PartitionError(TopicPartition("", -1), KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)),
        PartitionError(OTHER, KafkaError(KafkaError._AUTO_OFFSET_RESET)),
        PartitionError(HELD, KafkaError(KafkaError._AUTO_OFFSET_RESET, "gone")),
    ]
    polled = Polled([read(HELD, 6, 5)], errors, 1)
    monkeypatch.setattr(fetcher._consumer, "poll", lambda *_, **__: polled)

    assert fetcher._read(0) is polled
    assert troubles == [(HELD, KafkaError(KafkaError._AUTO_OFFSET_RESET, "gone").str())]


def test_records_and_ends_are_handed_on_with_the_epoch_of_their_source() -> None:
    """Not those of sources that are not assigned, nor an end that was reported before."""
    fetcher = fetcher_of([])
    some, end, more = read(HELD, 7, 5, 6), read(HELD, 9), read(HELD, 12, 11)

    found = [list(fetcher._current(each)) for each in ([some, read(OTHER, 1, 0)], [end], [end], [more])]

    task = TaskId("s", 3)
    assert found == [[(task, 7, some)], [(task, 7, end)], [], [(task, 7, more)]]


class Consumer:
    """Records the calls that change what is read."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[TopicPartition]]] = []

    def __getattr__(self, name: str) -> Callable[[Collection[TopicPartition]], None]:
        return lambda sources: self.calls.append((name, sorted(sources)))

    def poll(self, _: float, *, rows_max: int, bytes_max: int) -> Polled:
        """Return nothing."""
        assert rows_max > 0 < bytes_max
        return Polled([], [], 0)


def test_partitions_of_a_task_that_waits_are_paused_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only theirs; a partition that is given up is resumed first, so that it is read when it comes back."""
    fetcher = fetcher_of([])
    consumer = Consumer()
    monkeypatch.setattr(fetcher, "_consumer", consumer)
    fetcher._assign({OTHER: FetchPosition(TaskId("s", 4), 1, 0)})
    paused: set[TaskId] = set()
    monkeypatch.setattr(fetcher._queues, "paused", lambda: paused)

    for paused in (set(), {TaskId("s", 3)}, {TaskId("s", 3)}, set(), {TaskId("s", 3)}):  # noqa: B007 - read by the lambda
        fetcher.poll(0)
    fetcher._drop([HELD])

    assert consumer.calls == [
        ("assign", [OTHER]),
        ("pause", [HELD]),
        ("resume", [HELD]),
        ("pause", [HELD]),
        ("resume", [HELD]),
        ("unassign", [HELD]),
    ]
