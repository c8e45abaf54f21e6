"""What the two implementations of the batch consumer and producer do, on real Kafka; they must not differ."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from surgetank.clock import SystemClock
from surgetank.kafka import clients
from surgetank.kafka.columnar.consumer import ColumnarConsumer
from surgetank.kafka.columnar.interface import BatchConsumer, BatchProducer
from surgetank.kafka.columnar.plain import PlainConsumer, PlainProducer
from surgetank.kafka.columnar.produce_all import produce_all
from surgetank.kafka.columnar.producer import ColumnarProducer
from surgetank.kafka.columnar.results import Polled
from surgetank.kafka.message_headers import UNREADABLE
from surgetank.kafka.raw_headers import produce_with_headers
from surgetank.records import Headers, OutputRecords, PartitionRecords, TopicPartition, large_binary
from surgetank.settings import KafkaSettings
from tests.support.kafka_under_test import KafkaUnderTest

CLOCK = SystemClock()
MIB = 1 << 20
CLIENT = "columnar-test"
Topic = Callable[..., str]
Open = Callable[..., BatchConsumer]
Cells = Sequence[bytes | None]

both = pytest.mark.parametrize("implementation", ["columnar", "plain"])


@pytest.fixture
def open_consumer(kafka: KafkaUnderTest) -> Iterator[Open]:
    """Return a function that makes a consumer of an implementation; its keywords are librdkafka's options."""
    opened: list[BatchConsumer] = []

    def make(implementation: str, **overrides: Any) -> BatchConsumer:
        given = {
            "group_id": "columnar-test",
            "enable_auto_commit": False,
            "isolation_level": "read_committed",
            "enable_partition_eof": True,
            "auto_offset_reset": "error",
            "fetch_wait_max_ms": 20,
        }
        options = clients.common(kafka.settings, **(given | overrides))
        if implementation == "columnar":
            del options["error_cb"]
        opened.append((ColumnarConsumer if implementation == "columnar" else PlainConsumer)(options))
        return opened[-1]

    yield make
    for consumer in opened:
        consumer.close()


def batch_producer(implementation: str, producer: Producer) -> BatchProducer:
    """Return the implementation's producer for a client with the id CLIENT."""
    return ColumnarProducer(producer, CLIENT) if implementation == "columnar" else PlainProducer(producer)


def records(topic: str, keys: Cells, values: Cells, partition: int = 0) -> OutputRecords:
    """Return columns for one partition."""
    column = large_binary(values)
    return OutputRecords(topic, np.full(len(column), partition, dtype=np.int32), large_binary(keys), column)


def fill(kafka: KafkaSettings, topic: str, values: Cells, partition: int = 0, headers: Headers | None = None) -> None:
    """Write records without transaction by the ordinary client."""
    producer = clients.producer(kafka, message_max_bytes=4 * MIB)
    for value in values:
        producer.produce(topic, value, partition=partition, headers=list(headers or []))
        producer.poll(0)
    assert producer.flush(60) == 0


def begun(kafka: KafkaSettings, transactional_id: str = "") -> Producer:
    """Return a producer, with the client id CLIENT, that has begun a transaction."""
    name = transactional_id or uuid.uuid4().hex
    producer = clients.transactional(kafka, transactional_id=name, client_id=CLIENT)
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


@contextmanager
def transaction(kafka: KafkaSettings) -> Iterator[Producer]:
    """Run a transaction and commit it."""
    producer = begun(kafka)
    yield producer
    producer.commit_transaction(30)


class Everything:
    """Polls until each source has reached its end, and keeps what came."""

    def __init__(self, consumer: BatchConsumer, ends: Mapping[TopicPartition, int], **limits: int) -> None:
        self.polls: list[Polled] = []
        given = {"rows_max": 4096, "bytes_max": 64 * MIB} | limits
        started = CLOCK.monotonic()
        while any(self.next_offset(source) < end for source, end in ends.items()):
            assert CLOCK.monotonic() - started < 60, f"not read to {ends}"
            polled = consumer.poll(1.0, **given)
            assert not polled.errors
            self.polls.append(polled)

    def of(self, source: TopicPartition) -> list[PartitionRecords]:
        """Return what was read of a source."""
        return [each for polled in self.polls for each in polled.records if each.source == source]

    def next_offset(self, source: TopicPartition) -> int:
        """Return the position behind what was read."""
        return max((each.next_offset for each in self.of(source)), default=-1)

    def values(self, source: TopicPartition) -> list[bytes | None]:
        """Return all values of a source, in order."""
        return [value for each in self.of(source) for value in each.values.to_pylist()]

    def keys(self, source: TopicPartition) -> list[bytes | None]:
        """Return all keys of a source, in order."""
        return [key for each in self.of(source) for key in each.keys.to_pylist()]


@both
def test_nulls_and_empty_values_are_kept_apart(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Keys and values written and read again are equal, in any mixture of null, empty and full."""
    name = topic(2)
    source = TopicPartition(name, 1)
    keys = [None, b"", b"k", None, b"long" * 100, b"", None, b"x", b"last"]
    values = [b"", None, b"v", b"full", None, b"", b"n" * 3000, b"y", None]
    with transaction(kafka.settings) as producer:
        appended = batch_producer(implementation, producer).append(records(name, keys, values, 1))
        assert appended == (len(keys), None)
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    found = Everything(consumer, {source: len(keys) + 1})  # the marker of the commit is behind them

    assert found.keys(source) == keys
    assert found.values(source) == values
    for each in found.of(source):
        each.keys.validate(full=True)
        each.values.validate(full=True)
        assert each.keys.type == each.values.type == pa.large_binary()
        assert len(each) == len(each.keys) == len(each.values) == len(each.arrived_ms)
    offsets = np.concatenate([each.offsets for each in found.of(source)])
    times = np.concatenate([each.arrived_ms for each in found.of(source)])
    assert offsets.tolist() == list(range(len(keys)))
    assert (abs(times - CLOCK.now() * 1000) < 600_000).all()
    assert all(not each.headers_of(row) for each in found.of(source) for row in range(len(each)))


@both
def test_rows_of_a_slice_are_produced_from_the_given_row_on(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Columns that are slices of others, with nulls at any bit, keep their rows."""
    name = topic(1)
    source = TopicPartition(name, 0)
    values = [None if row % 3 == 0 else b"%d" % row for row in range(100)]
    keys = [None if row % 7 == 0 else b"key%d" % row for row in range(100)]
    producer = clients.producer(kafka.settings, client_id=CLIENT)

    appended = batch_producer(implementation, producer).append(records(name, keys, values).slice(11, 90), 6)
    assert producer.flush(30) == 0
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})
    found = Everything(consumer, {source: 73})

    assert appended == (79, None)
    assert found.values(source) == values[17:90]
    assert found.keys(source) == keys[17:90]


@both
def test_headers_are_read_and_produced_as_they_are(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Null and empty header values, equal names and their order are kept; records without headers have none."""
    name = topic(1)
    source = TopicPartition(name, 0)
    headers: list[tuple[str, bytes | None]] = [
        ("a", b"1"),
        ("b", None),
        ("a", b""),
        ("Größe", b"\xff" * 300),
        ("", b"x"),
    ]
    producer = clients.producer(kafka.settings, client_id=CLIENT)
    with_headers = records(name, [None] * 3, [b"0", b"1", b"2"])
    rows = replace(with_headers, headers=[(), headers, [("z", b"")]])
    assert batch_producer(implementation, producer).append(rows) == (3, None)
    assert producer.flush(30) == 0
    fill(kafka.settings, name, [b"3"])
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    found = Everything(consumer, {source: 4}).of(source)

    of_rows = [each.headers_of(row) for each in found for row in range(len(each))]
    assert [list(each) for each in of_rows] == [[], headers, [("z", b"")], []]


def test_a_header_whose_name_is_no_text_does_not_keep_its_record_from_being_read(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open
) -> None:
    """The compiled loop keeps the name's bytes; the ordinary client, which cannot read any header then, says so."""
    name = topic(1)
    source = TopicPartition(name, 0)
    producer = clients.producer(kafka.settings, client_id=CLIENT)
    names = [b"good"] * 30 + [b"M\xfcller", b"good"] * 3  # the interpreter specializes a call that it has made often
    for header in names:
        produce_with_headers(producer, CLIENT, name, 0, None, b"value", [(header, b"value")], 1_700_000_000_000)
    assert producer.flush(30) == 0
    read = {}
    for implementation in ("columnar", "plain"):
        consumer = open_consumer(implementation)
        consumer.assign({source: 0})
        read[implementation] = Everything(consumer, {source: len(names)})

    def headers(implementation: str) -> list[Headers]:
        batches = read[implementation].of(source)
        return [tuple(batch.headers_of(row)) for batch in batches for row in range(len(batch))]

    assert read["columnar"].values(source) == read["plain"].values(source) == [b"value"] * len(names)
    assert [(name.encode(errors="surrogateescape"), value) for ((name, value),) in headers("columnar")] == [
        (name, b"value") for name in names
    ]
    expected = [(("good", b"value"),) if name == b"good" else UNREADABLE for name in names]
    for _ in range(3):  # the client's response to a second call differs from that to the first
        assert headers("plain") == expected


@both
def test_records_of_a_mebibyte_are_read_whole(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Large records come out equal, at most a few per poll."""
    name = topic(1, config={"max.message.bytes": str(4 * MIB)})
    source = TopicPartition(name, 0)
    values = [bytes([row]) * MIB for row in range(12)]
    fill(kafka.settings, name, values)
    consumer = open_consumer(implementation, fetch_message_max_bytes=4 * MIB)
    consumer.assign({source: 0})

    found = Everything(consumer, {source: 12}, bytes_max=3 * MIB)

    assert found.values(source) == values


@both
@pytest.mark.parametrize("large", ["values", "headers"])
def test_a_poll_stops_at_its_bound_of_bytes(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, large: str, implementation: str
) -> None:
    """Once sizes are known, no poll returns more bytes than asked for, nor fewer rows than fit twice over."""
    name = topic(1)
    source = TopicPartition(name, 0)
    if large == "values":
        fill(kafka.settings, name, [bytes(10_000)] * 500)
    else:
        fill(kafka.settings, name, [None] * 500, headers=[("name", bytes(9_990))])
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    found = Everything(consumer, {source: 500}, bytes_max=205_000)

    sizes = [each.payload_bytes for each in found.of(source)]
    assert max(sizes) <= 205_000
    assert sum(sizes) >= 500 * 9_990
    assert max(map(len, found.of(source))) == 20


@both
def test_a_poll_stops_at_its_bound_of_rows(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """No poll returns more rows than asked for."""
    name = topic(1)
    source = TopicPartition(name, 0)
    fill(kafka.settings, name, [b"x"] * 500)
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    found = Everything(consumer, {source: 500}, rows_max=7)

    assert max(polled.rows for polled in found.polls) == 7
    assert len(found.values(source)) == 500


@both
def test_the_position_lies_behind_markers_and_aborted_records(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Aborted records are not returned; the next offset is behind them and behind the markers of both transactions."""
    name = topic(1)
    source = TopicPartition(name, 0)
    with transaction(kafka.settings) as producer:
        producer.produce(name, b"good", partition=0)
    aborted = begun(kafka.settings)
    aborted.produce(name, b"bad", partition=0)
    assert aborted.flush(30) == 0
    aborted.abort_transaction(30)
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    found = Everything(consumer, {source: 4})  # good, marker, bad, marker

    assert found.values(source) == [b"good"]
    assert found.next_offset(source) == 4


@both
def test_a_source_without_records_reports_its_end(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """An entry without rows gives the end position, beside entries with rows of other sources."""
    name = topic(2)
    empty, full = TopicPartition(name, 0), TopicPartition(name, 1)
    fill(kafka.settings, name, [b"1"], 1)
    consumer = open_consumer(implementation)
    consumer.assign({empty: 0, full: 0})

    found = Everything(consumer, {empty: 0, full: 1})

    assert [len(each) for each in found.of(empty)] == [0]
    assert found.of(empty)[0].values.to_pylist() == []
    assert found.values(full) == [b"1"]


@both
def test_an_offset_out_of_range_is_an_error_of_its_source(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """The error names source and code; other sources are read on."""
    name = topic(2)
    broken, good = TopicPartition(name, 0), TopicPartition(name, 1)
    fill(kafka.settings, name, [b"1", b"2"], 1)
    consumer = open_consumer(implementation)
    consumer.assign({broken: 1_000, good: 0})
    polled: list[Polled] = []

    def poll_once() -> list[Polled]:
        polled.append(consumer.poll(0.5, rows_max=9, bytes_max=MIB))
        return polled

    until(lambda: any(p.errors for p in poll_once()))
    until(lambda: any(p.rows for p in poll_once()))

    errors = {(each.source, each.error.code()) for p in polled for each in p.errors}
    texts = [each.error.str() for p in polled for each in p.errors]

    assert errors == {(broken, KafkaError._AUTO_OFFSET_RESET)}
    assert all("out of range" in text.lower() for text in texts)
    assert [each.values.to_pylist() for p in polled for each in p.records if len(each)] == [[b"1", b"2"]]


@both
def test_assignments_change_by_difference(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """What is unassigned returns nothing more, what stays goes on, what comes back starts at its offset."""
    name = topic(3)
    sources = [TopicPartition(name, partition) for partition in range(3)]
    for partition in range(3):
        fill(kafka.settings, name, [b"%d" % row for row in range(100)], partition)
    consumer = open_consumer(implementation)
    consumer.assign({sources[0]: 0, sources[1]: 90})
    first = Everything(consumer, {sources[0]: 100, sources[1]: 100})
    consumer.unassign([sources[1]])
    consumer.assign({sources[2]: 95})
    fill(kafka.settings, name, [b"new"], 0)
    fill(kafka.settings, name, [b"new"], 1)
    second = Everything(consumer, {sources[0]: 101, sources[2]: 100})
    consumer.assign({sources[1]: 98})
    third = Everything(consumer, {sources[1]: 101})

    assert first.values(sources[1]) == [b"%d" % row for row in range(90, 100)]
    assert second.values(sources[0]) == [b"new"]
    assert second.of(sources[1]) == []
    assert second.values(sources[2]) == [b"%d" % row for row in range(95, 100)]
    assert third.values(sources[1]) == [b"98", b"99", b"new"]
    with pytest.raises(KafkaException):
        consumer.assign({sources[1]: 0})
    with pytest.raises(KafkaException):
        consumer.unassign([TopicPartition(name, 7)])


@both
def test_a_paused_source_returns_nothing_and_goes_on_where_it_was(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Records that were fetched before the pause come after it, once."""
    name = topic(2)
    paused, other = TopicPartition(name, 0), TopicPartition(name, 1)
    for partition in range(2):
        fill(kafka.settings, name, [b"%d" % row for row in range(1000)], partition)
    consumer = open_consumer(implementation)
    consumer.assign({paused: 0, other: 0})
    before = Everything(consumer, {paused: 10}, rows_max=10)
    consumer.pause([paused])
    meanwhile = Everything(consumer, {other: 1000})
    consumer.resume([paused])
    after = Everything(consumer, {paused: 1000})

    assert meanwhile.values(paused) == []
    assert before.values(paused) + after.values(paused) == [b"%d" % row for row in range(1000)]


@both
def test_a_poll_returns_with_the_first_record(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """It does not wait for as many rows as it may return; a closed consumer refuses to be polled."""
    name = topic(1)
    fill(kafka.settings, name, [b"1"])
    consumer = open_consumer(implementation, enable_partition_eof=False)
    consumer.look_up(name, 10)
    consumer.assign({TopicPartition(name, 0): 0})

    polled = consumer.poll(600, rows_max=4096, bytes_max=MIB)

    assert polled.rows == 1
    consumer.close()
    with pytest.raises(RuntimeError):
        consumer.poll(0, rows_max=1, bytes_max=1)


@both
def test_a_full_queue_stops_at_a_row_and_goes_on_from_it(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Back-pressure loses and doubles nothing: each row is in the topic once, in order."""
    name = topic(1)
    source = TopicPartition(name, 0)
    values = [b"%d" % row for row in range(1000)]
    producer = clients.producer(kafka.settings, client_id=CLIENT, queue_buffering_max_messages=64)
    mine, wanted = batch_producer(implementation, producer), records(name, [None] * 1000, values)

    row, stops = 0, []
    while True:
        row, error = mine.append(wanted, row)
        if error is None:
            break
        assert error.code() == KafkaError._QUEUE_FULL
        stops.append(row)
        producer.poll(0.05)
    assert producer.flush(30) == 0
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    assert row == 1000
    assert stops[0] == 64
    assert Everything(consumer, {source: 1000}).values(source) == values


@both
def test_all_rows_are_produced_and_the_delivery_of_the_last_is_reported(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Also through a queue that is full all the time; a row that is refused raises its error."""
    name = topic(1)
    source = TopicPartition(name, 0)
    values = [b"%d" % row for row in range(1000)]
    options = {"queue_buffering_max_messages": 64, "message_max_bytes": 1000}
    producer = clients.producer(kafka.settings, client_id=CLIENT, **options)
    mine, reported = batch_producer(implementation, producer), []

    def delivered(error: KafkaError | None, message: Message) -> None:
        reported.append((error, message.offset()))

    for some in (values, [b"alone"], []):
        produce_all(producer, mine, records(name, [None] * len(some), some), delivered)
    produce_all(producer, mine, records(name, [None] * 100, [b"more"] * 100))
    with pytest.raises(KafkaException) as refused:
        produce_all(producer, mine, records(name, [None], [bytes(2000)]))
    assert producer.flush(30) == 0
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    assert reported == [(None, 999), (None, 1000)]
    assert refused.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert Everything(consumer, {source: 1101}).values(source) == [*values, b"alone", *[b"more"] * 100]


@both
def test_a_record_that_is_too_large_is_named(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Rows before it are in the queue, those behind it are not."""
    name = topic(1)
    source = TopicPartition(name, 0)
    producer = clients.producer(kafka.settings, client_id=CLIENT, message_max_bytes=1000)
    wanted = records(name, [b"k"] * 4, [b"0", b"1", bytes(2000), b"3"])

    row, error = batch_producer(implementation, producer).append(wanted)
    assert producer.flush(30) == 0
    consumer = open_consumer(implementation)
    consumer.assign({source: 0})

    assert error is not None
    assert (row, error.code()) == (2, KafkaError.MSG_SIZE_TOO_LARGE)
    assert Everything(consumer, {source: 2}).values(source) == [b"0", b"1"]


@both
def test_an_unknown_partition_fails_the_transaction(kafka: KafkaUnderTest, topic: Topic, implementation: str) -> None:
    """It is refused at once or found by the commit: never lost in silence."""
    name = topic(1)
    producer = begun(kafka.settings)
    client = batch_producer(implementation, producer)

    _, error = client.append(records(name, [None], [b"lost"], partition=17))

    if error is None:
        with pytest.raises(KafkaException):
            producer.commit_transaction(30)
    else:
        assert error.code() == KafkaError._UNKNOWN_PARTITION


@both
def test_a_delivery_that_failed_is_found_by_the_commit(
    kafka: KafkaUnderTest, topic: Topic, implementation: str
) -> None:
    """No delivery report is looked at: the transaction refuses to commit."""
    name = topic(1, config={"max.message.bytes": "100"})
    producer = begun(kafka.settings)
    client = batch_producer(implementation, producer)

    assert client.append(records(name, [None], [bytes(range(256)) * 2])) == (1, None)

    with pytest.raises(KafkaException) as failed:
        producer.commit_transaction(30)
    assert failed.value.args[0].txn_requires_abort()


@both
def test_a_fenced_producer_appends_nothing_more(kafka: KafkaUnderTest, topic: Topic, implementation: str) -> None:
    """After the fence is known each row is refused with an error that is fatal."""
    name, identity = topic(1), uuid.uuid4().hex
    fenced = begun(kafka.settings, identity)
    client = batch_producer(implementation, fenced)
    assert client.append(records(name, [None], [b"lost"])) == (1, None)
    begun(kafka.settings, identity)
    with pytest.raises(KafkaException):
        fenced.commit_transaction(30)

    row, error = client.append(records(name, [None] * 2, [b"a", b"b"]))

    assert row == 0
    assert error is not None
    assert error.code() in {KafkaError._FATAL, KafkaError._FENCED, KafkaError._STATE}


@both
def test_memory_stays_flat_over_many_batches(
    kafka: KafkaUnderTest, topic: Topic, open_consumer: Open, implementation: str
) -> None:
    """Nothing of a batch, its headers or its errors stays behind: 300 MB pass, and the process grows by a tenth."""
    name = topic(2)
    sources = {TopicPartition(name, partition): 0 for partition in range(2)}
    for partition in range(2):
        fill(kafka.settings, name, [bytes(1000)] * 3000, partition, [("trace", bytes(50))])
    consumer = open_consumer(implementation, queued_max_messages_kbytes=2048)
    consumer.assign(sources)

    def again(times: int) -> None:
        for _ in range(times):
            Everything(consumer, dict.fromkeys(sources, 3000), rows_max=1000)
            consumer.unassign(sources)
            consumer.assign(sources)

    again(8)
    before = psutil.Process().memory_info().rss
    again(50)
    grown = psutil.Process().memory_info().rss - before

    assert grown < 30 * MIB


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that is evaluated again and again; fails after a minute."""
    started = CLOCK.monotonic()
    never = threading.Event()
    while not condition():
        assert CLOCK.monotonic() - started < 60
        never.wait(0.01)
