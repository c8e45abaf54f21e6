"""surgetank.kafka.last_records: single records of many partitions, in one bounded read."""

from collections.abc import Callable, Mapping

import pytest

from surgetank.errors import BrokerError
from surgetank.kafka import clients, last_records
from surgetank.kafka.last_records import FoundRecord, single_records
from surgetank.records import TopicPartition
from surgetank.settings import Settings
from tests.support.recorded_logs import Log, LogConsumer, Message, opening

SOURCES = [TopicPartition("scores", number) for number in range(3)]
KAFKA = Settings().kafka
Install = Callable[[Mapping[TopicPartition, Log]], LogConsumer]


def log(source: TopicPartition, records: int, *, markers: int = 0, **how: bool | int) -> Log:
    """Return a partition with records, then markers or aborted records."""
    found = [Message(source, n, f"N{n}".encode()) for n in range(records)]
    return Log([*found, *[None] * markers], **how)  # type: ignore[arg-type]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have readers read partitions in memory."""

    def installed(logs: Mapping[TopicPartition, Log]) -> LogConsumer:
        consumer = LogConsumer(logs)
        monkeypatch.setattr(clients, "reader", opening(consumer))
        return consumer

    return installed


def offset(found: FoundRecord) -> int | None:
    """Return the offset of the record; None if there is none."""
    return None if found.record is None else found.record.offset


def test_the_last_records_are_those_when_the_question_was_asked(install: Install) -> None:
    """Other workers that write to an output do not keep the question from being answered."""
    install({source: log(source, 40, growing=2_000, ends=False) for source in SOURCES})

    with single_records(KAFKA, lambda: None) as reader:
        assert [offset(each) for each in reader.last(SOURCES).values()] == [39, 39, 39]
        assert [offset(each) for each in reader.first(dict.fromkeys(SOURCES, 7)).values()] == [7, 7, 7]


def test_partitions_are_read_together_and_report_progress(install: Install) -> None:
    """One assignment for all of them, so that a worker with many is not taken for stuck."""
    consumer = install({source: log(source, 40) for source in SOURCES})
    progress = []

    with single_records(KAFKA, lambda: progress.append(consumer.consumed)) as reader:
        reader.last(SOURCES)
    assert consumer.assignments == [set(SOURCES)]
    assert len(progress) > len(SOURCES)


@pytest.mark.parametrize("markers", [0, 3, 16, 500])
def test_markers_and_aborted_records_at_the_end_are_passed_over(install: Install, markers: int) -> None:
    """Ever more offsets before the end are read, of those partitions only."""
    first, second, third = SOURCES
    install({first: log(first, 40, markers=markers), second: log(second, 0, markers=markers), third: Log(low=9)})

    with single_records(KAFKA, lambda: None) as reader:
        found = reader.last(SOURCES)

    record = found[first].record
    assert record is not None
    assert (record.offset, record.key) == (39, b"N39")
    assert found[second] == FoundRecord(0, markers, None)
    assert found[third] == FoundRecord(9, 9, None)


def test_the_first_record_is_the_next_committed_one(install: Install) -> None:
    """At the offset, or behind a marker; None at the end."""
    first, second, third = SOURCES
    behind = Log([Message(first, 0, b"zero"), None, None, Message(first, 3, b"three")])
    install({first: behind, second: log(second, 9), third: log(third, 9)})

    with single_records(KAFKA, lambda: None) as reader:
        found = reader.first({first: 1, second: 4, third: 9})

    assert [offset(each) for each in found.values()] == [3, 4, None]


def test_records_that_retention_deletes_while_they_are_read_are_below_the_first_offset(install: Install) -> None:
    """The first offset is not the one before the read, by which the deleted record would look like a marker."""
    source = SOURCES[0]
    logs = {source: Log([None, Message(source, 5, b"five")], low=4)}
    consumer = install(logs)

    def delete() -> None:
        if consumer.consumed:
            logs[source] = Log([Message(source, 5, b"five")], low=5)

    with single_records(KAFKA, delete) as reader:
        found = reader.first({source: 4})

    assert found[source].low == 5
    assert offset(found[source]) == 5


def test_a_silent_partition_is_a_broker_error(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not taken for an empty one, though the others are read."""
    monkeypatch.setattr(last_records, "_CALL_SECONDS", 0.0)
    install({source: log(source, 40, silent=source.partition == 1, growing=1) for source in SOURCES})

    with pytest.raises(BrokerError), single_records(KAFKA, lambda: None) as reader:
        reader.last(SOURCES)
