"""A poll of the columnar consumer that an exception ends at any instruction, on brokers inside librdkafka."""

import linecache
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from confluent_kafka import Producer

from surgetank.clock import SystemClock
from surgetank.kafka import clients
from surgetank.kafka.columnar import consumer as module
from surgetank.kafka.columnar.consumer import ColumnarConsumer
from surgetank.kafka.columnar.interface import BatchConsumer
from surgetank.kafka.columnar.plain import PlainConsumer
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings

TOPIC, ROWS = "events", 3
REFUSED = -1
SOURCES = [TopicPartition(TOPIC, partition) for partition in (0, 1)]
PACKAGE = str(Path(module.__file__).parents[2])
STUCK_SECONDS = 60.0
CLOCK = SystemClock()


class Interrupt(BaseException):
    """What a signal handler might raise."""


class InterruptAt:
    """Raises Interrupt before the n-th instruction that Python runs in the package. A context manager."""

    def __init__(self, n: int) -> None:
        self._left = n
        self.line = ""  # the line that was not completed; empty if fewer instructions ran

    def __enter__(self) -> None:
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self._left -= 1
            if self._left == 0:
                self.line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
                raise Interrupt
        return self._trace


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """Return the address of brokers with ROWS records, which have headers, in each of SOURCES."""
    producer = Producer(clients.common(KafkaSettings(), test_mock_num_brokers=1, linger_ms=0))
    for source in SOURCES:
        for row in range(ROWS):
            producer.produce(TOPIC, f"value {row}", f"key {row}", source.partition, headers=[("name", b"content")])
    assert producer.flush(30) == 0
    (broker,) = producer.list_topics(TOPIC, 30).brokers.values()
    yield f"{broker.host}:{broker.port}"
    producer.purge()  # the brokers end with their producer


def opened(brokers: str, implementation: str) -> BatchConsumer:
    """Return a consumer that reads SOURCES from their start, and has at least the records of one to return."""
    options = clients.reader_options(
        KafkaSettings(bootstrap=brokers), enable_partition_eof=True, auto_offset_reset="error", fetch_wait_max_ms=10
    )
    if implementation == "columnar":
        del options["error_cb"]
    consumer = (ColumnarConsumer if implementation == "columnar" else PlainConsumer)(options)
    consumer.assign(dict.fromkeys(SOURCES, 0))
    return consumer


def close(consumer: BatchConsumer) -> None:
    """Close a consumer; fail if that does not return, as with a message that was not destroyed."""
    closing = threading.Thread(target=consumer.close, daemon=True)
    closing.start()
    closing.join(STUCK_SECONDS)
    assert not closing.is_alive(), "closing waits for messages that were not destroyed"


def rows_of(consumer: BatchConsumer) -> int:
    """Return how many records polls return until both partitions are read to their end; REFUSED if one raises."""
    ended: set[TopicPartition] = set()
    rows, started = 0, CLOCK.monotonic()
    while len(ended) < len(SOURCES):
        assert CLOCK.monotonic() - started < STUCK_SECONDS
        try:
            polled = consumer.poll(1.0, rows_max=100, bytes_max=1 << 20)
        except RuntimeError:
            return REFUSED
        rows += polled.rows
        ended |= {records.source for records in polled.records if records.next_offset >= ROWS}
    return rows


def interrupted_at(brokers: str, implementation: str, n: int) -> bool:
    """Interrupt a poll that returns records before its n-th instruction; return whether it has that many.

    Whatever the consumer does then, no record is missing unless the caller learns that, and closing returns.
    """
    consumer = opened(brokers, implementation)
    interrupt = InterruptAt(n)
    try:
        with interrupt:
            consumer.poll(30.0, rows_max=100, bytes_max=1 << 20)
    except Interrupt:
        if interrupt.line != "return polled":  # as good as returned: the caller may be interrupted there too
            assert rows_of(consumer) in {len(SOURCES) * ROWS, REFUSED}
    finally:
        close(consumer)
    return interrupt.line != ""


@pytest.mark.parametrize("implementation", ["columnar", "plain"])
def test_a_poll_may_be_interrupted_at_any_instruction(brokers: str, implementation: str) -> None:
    """Closing destroys what was taken; a caller that polls again gets every record, or an error."""
    n = 1
    while interrupted_at(brokers, implementation, n):
        n += 1
    assert n > 100  # the poll had records to copy


@pytest.mark.parametrize("implementation", ["columnar", "plain"])
def test_a_poll_after_an_interrupted_one_is_refused(brokers: str, implementation: str) -> None:
    """Records that were taken are not missing in silence."""
    consumer = opened(brokers, implementation)
    try:
        with pytest.raises(Interrupt), InterruptAt(60):
            consumer.poll(30.0, rows_max=100, bytes_max=1 << 20)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="close this consumer"):
                consumer.poll(0, rows_max=100, bytes_max=1 << 20)
    finally:
        close(consumer)
