"""Dead letters as columns: what the headers say, for letters and for records of other programs."""

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.codec.base import NOT_FRAMED, UNDECODABLE
from surgetank.dead_letters.letters import SCHEMA, letter_columns
from surgetank.dead_letters.selection import Selection
from surgetank.dead_letters.statistics import Statistics
from surgetank.processing.dead_letter import NAMES, TIME, dead_letter_records, parse_dead_letter
from surgetank.record_compression import RecordBytes
from surgetank.record_headers import EncodedHeaders, encode_headers
from surgetank.records import (
    DeadLetter,
    DeadLetterReason,
    Headers,
    PartitionRecords,
    RecordBatch,
    TopicPartition,
    large_binary,
)

NOW = 1_700_000_000.25
HEADERS = st.lists(
    st.tuples(
        st.sampled_from([*NAMES, "trace"]),
        st.none() | st.binary(max_size=30) | st.sampled_from([b"7", b"decode", b"undecodable", b"-1"]),
    ),
    max_size=12,
).map(tuple)


def letter(
    value: bytes | None = b"v",
    headers: Headers = (),
    *,
    reason: DeadLetterReason = UNDECODABLE,
    now: float = NOW,
    bytes_max: int = 1_000_000,
    topic: str = "events",
) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers of a dead letter of offset 42 of partition 3."""
    source = RecordBatch(
        sources=(TopicPartition(topic, 3),),
        source=np.zeros(1, dtype=np.int32),
        offsets=np.array([42], dtype=np.int64),
        arrived_ms=np.array([-1], dtype=np.int64),
        keys=large_binary([b"k"]),
        values=large_binary([value]),
        headers_of=lambda _: headers,
    )
    dead = DeadLetter(0, reason, "byte 9: é")
    made = dead_letter_records(source, dead, pipeline="p", now=now, bytes_max=RecordBytes(bytes_max, 0))
    return made.key, made.value, tuple(made.headers)


def partition(*letters: tuple[bytes | None, bytes | None, Headers], number: int = 1) -> PartitionRecords:
    """Return these letters as the records of a partition, from offset 10 on."""
    n = len(letters)
    return PartitionRecords(
        TopicPartition("dead", number),
        10 + n,
        np.arange(10, 10 + n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        large_binary([key for key, _, _ in letters]),
        large_binary([value for _, value, _ in letters]),
        lambda row: letters[row][2],
    )


def test_the_headers_of_a_letter_become_columns() -> None:
    """An event that failed twice has two sets of headers; the last one is valid."""
    once = letter()
    twice = letter(headers=once[2], reason=NOT_FRAMED, now=NOW + 60)

    found = letter_columns(partition(once, twice))

    assert found.schema == SCHEMA
    first, second = found.to_pylist()
    assert first == {
        "partition": 1,
        "offset": 10,
        "stage": "decode",
        "reason": "undecodable",
        "message": "byte 9: é",
        "time": datetime.fromtimestamp(NOW, UTC),
        "source_topic": "events",
        "source_partition": 3,
        "source_offset": 42,
        "arrived_ms": -1,
        "attempts": 1,
        "cut": False,
        "bytes": 2 + len(encode_headers(once[2])),
        "key": b"k",
    }
    assert (second["reason"], second["attempts"], second["offset"]) == ("not_framed", 2, 11)


def test_a_part_of_a_read_has_the_columns_of_its_letters() -> None:
    """A topic that is written meanwhile is read to its former end: a read is split there."""
    letters = [letter(), letter(reason=NOT_FRAMED), letter(b"third")]
    records = partition(*letters)
    column = large_binary([encode_headers(headers) for _, _, headers in letters])
    object.__setattr__(records, "headers_of", EncodedHeaders(column))

    for part, reasons in zip(records.split(2), (["undecodable", "not_framed"], ["undecodable"]), strict=True):
        assert letter_columns(part)["reason"].to_pylist() == reasons


def test_a_letter_without_its_value_is_marked() -> None:
    """The value was larger than a dead letter may be."""
    found = letter_columns(partition(letter(bytes(5_000), bytes_max=1_000), letter(b"")))
    assert found["cut"].to_pylist() == [True, False]


@pytest.mark.parametrize("time", [b"2026-02-31T10:00:00.000+00:00", b"2026-13-01T10:00:00.000+00:00", b"yesterday"])
def test_a_time_that_is_none_makes_a_record_unreadable_and_no_other(time: bytes) -> None:
    """One record of another program among letters."""
    key, value, headers = letter()
    other = (key, value, tuple((name, time if name == TIME else text) for name, text in headers))
    found = letter_columns(partition(letter(), other))
    assert found["reason"].to_pylist() == ["undecodable", None]


@given(st.lists(HEADERS, max_size=8))
def test_no_headers_stop_the_reader(headers: list[Headers]) -> None:
    """Any headers give a row; it is readable at least where the worker's own parser reads it."""
    found = letter_columns(partition(*((b"k", b"v", each) for each in headers)))

    assert found["attempts"].to_pylist() == [sum(name == "surgetank.reason" for name, _ in each) for each in headers]
    for row, each in zip(found.to_pylist(), headers, strict=True):
        try:
            parse_dead_letter(each)
        except ValueError:
            continue
        assert row["source_partition"] is not None


def test_a_selection_holds_all_its_conditions() -> None:
    """Times are compared with those of the failures; records of other programs match no condition."""
    letters = letter_columns(
        partition(
            letter(),
            letter(reason=NOT_FRAMED, now=NOW + 10),
            letter(topic="facts", now=NOW + 20),
            (b"k", b"v", ()),
        )
    )

    def rows(selection: Selection) -> list[int]:
        return [row for row, meant in enumerate(selection.mask(letters).to_pylist()) if meant]

    assert rows(Selection()) == [0, 1, 2, 3]
    assert rows(Selection(reasons=("not_framed",))) == [1]
    assert rows(Selection(reasons=("not_framed", "undecodable"), source_topic="events")) == [0, 1]
    assert rows(Selection(stages=("decode",))) == [0, 1, 2]
    assert rows(Selection(stages=("infer",))) == []
    assert rows(Selection(source_partition=3)) == [0, 1, 2]
    assert rows(Selection(source_partition=2)) == []
    since, until = (datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (10, 20))
    assert rows(Selection(since=since)) == [1, 2]
    assert rows(Selection(until=until)) == [0, 1]
    assert rows(Selection(since=since, until=until)) == [1]


def test_statistics_count_by_stage_reason_and_topic() -> None:
    """Over several batches, with the first and the last time and an example of each group."""
    statistics = Statistics()
    statistics.add(letter_columns(partition(letter(), letter(now=NOW - 5), letter(reason=NOT_FRAMED), number=0)))
    statistics.add(letter_columns(partition(letter(now=NOW + 5), (b"k", b"v", ()), number=2)))

    first, *others = statistics.largest_first()

    assert (first.stage, first.reason, first.source_topic, first.letters) == ("decode", "undecodable", "events", 3)
    assert (first.first, first.last) == tuple(datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (-5, 5))
    assert first.example == "2:10"
    assert {(each.reason, each.letters, each.example) for each in others} == {
        ("not_framed", 1, "0:12"),
        (None, 1, "2:11"),
    }
    assert all(one.letters >= other.letters for one, other in pairwise(statistics.largest_first()))
