"""The comparison of the records that the sources have with those that were sent to them."""

import threading
from collections.abc import Iterable

import pytest

from surgetank.drills.odd.deliveries import Deliveries
from surgetank.drills.odd.reading import Position, ReadRecord
from surgetank.drills.odd.records import OddRecord
from surgetank.drills.odd.sender import OddSender
from surgetank.drills.odd.stopping import DrillStopped
from surgetank.settings import KafkaSettings

BYTES_MAX = 1 << 20


def made(key: bytes | None, value: bytes | None = b"v", partition: int = 0) -> OddRecord:
    """Return a record to send."""
    return OddRecord("t", partition, key, value, (), 1, "lz4")


def read(record: OddRecord) -> ReadRecord:
    """Return a record as its topic has it."""
    return ReadRecord(Position(record.topic, record.partition, 0), record.key, record.value, ())


def differences(
    sent: Iterable[OddRecord], found: Iterable[OddRecord], unreported: Iterable[OddRecord] = ()
) -> list[str]:
    """Return the words for acknowledged records, records without a report, and what was found of them."""
    deliveries = Deliveries()
    for record in sent:
        deliveries.acknowledged(deliveries.sent(record, reported=True))
    for record in unreported:
        deliveries.sent(record, reported=False)
    assert len(list(deliveries.found([read(record) for record in found]))) == len(list(found))
    return list(deliveries.differences(BYTES_MAX))


def test_records_that_are_there_as_often_as_they_were_sent_are_right() -> None:
    """In any order; null and empty are two values."""
    sent = [made(b"a"), made(b"b"), made(b"a"), made(None), made(b""), made(b"n", None), made(b"n", b"")]

    assert differences(sent, sent[::-1]) == []


@pytest.mark.parametrize(
    "found",
    [[], [made(b"a")], [made(b"a")] * 3, [made(b"a"), made(b"b")], [made(b"a"), made(b"a", b"w")]],
    ids=["none", "one", "one more", "another key", "another value"],
)
def test_records_that_are_missing_repeated_or_altered_are_named(found: list[OddRecord]) -> None:
    """Two were sent and acknowledged."""
    assert "b'a'" in " ".join(differences([made(b"a"), made(b"a")], found))


def test_a_record_in_another_partition_is_named() -> None:
    """It is missing in one and was never sent to the other."""
    words = differences([made(b"a")], [made(b"a", partition=1)])

    assert len(words) == 2
    assert "never sent" in words[1]


def test_a_record_without_delivery_report_is_named_if_it_is_missing() -> None:
    """Unless a broker may have rejected it for its size."""
    large = made(b"large", bytes(BYTES_MAX))

    assert differences([], [made(b"a")], [made(b"a")]) == []
    assert "b'a'" in " ".join(differences([], [], [made(b"a")]))
    assert differences([], [], [large]) == []
    assert differences([], [large], [large]) == []
    assert differences([], [large, large], [large]) != []


def test_a_sender_that_is_stopped_ends() -> None:
    """No broker answers; the records that were queued are dropped."""
    stop = threading.Event()
    sender = OddSender(KafkaSettings(bootstrap="127.0.0.1:1"), "sender")

    def records() -> Iterable[OddRecord]:
        yield made(b"a")
        stop.set()

    with pytest.raises(DrillStopped):
        sender.send(records(), stop)
