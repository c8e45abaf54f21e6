"""Dead letters keep what came and say what happened; both can be read back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from surgetank.codec.base import UNDECODABLE
from surgetank.processing.dead_letter import (
    MESSAGE_MAX,
    NAMES,
    OVERSIZE,
    DeadLetterCause,
    DeadLetterRecord,
    dead_letter_records,
    parse_dead_letter,
    size,
)
from surgetank.processing.dead_letter_reasons import REASONS
from surgetank.record_compression import RecordBytes, compressed_bytes
from surgetank.records import DeadLetter, DeadLetterReason, Headers, RecordBatch, TopicPartition, large_binary

NOW = 1_700_000_000.25
BYTES_MAX = RecordBytes(1_000_000, 0)
HEADERS = st.lists(
    st.tuples(st.sampled_from([*NAMES, "trace", ""]) | st.text(max_size=8), st.none() | st.binary(max_size=8)),
    max_size=12,
)
REPEATED = st.builds(lambda part, times: part * times, st.binary(max_size=300), st.integers(1, 300))


def records(key: bytes | None, value: bytes | None, headers: Headers, offset: int = 42) -> RecordBatch:
    """Return two records of two partitions; the one with these parts is the second."""
    return RecordBatch(
        sources=(TopicPartition("other", 0), TopicPartition("flights.boarding", 7)),
        source=np.array([0, 1], dtype=np.int32),
        offsets=np.array([1, offset], dtype=np.int64),
        arrived_ms=np.array([5, 1_699_999_999_123], dtype=np.int64),
        keys=large_binary([b"no", key]),
        values=large_binary([b"no", value]),
        headers_of=lambda row: headers if row == 1 else [("wrong", b"row")],
    )


def letter(message: str = "field 'x'") -> DeadLetter:
    """Return a dead letter for the second record."""
    return DeadLetter(1, UNDECODABLE, message)


def test_key_value_and_headers_stay_as_they_came() -> None:
    """The original bytes and headers are untouched; ours follow in a fixed order, readable as text."""
    original = [("trace", b"\xff"), ("empty", None)]
    made = dead_letter_records(
        records(b"\x00k", b"\xffv", original), letter(), pipeline="flights", now=NOW, bytes_max=BYTES_MAX
    )
    assert (made.key, made.value) == (b"\x00k", b"\xffv")
    assert made.headers == [
        *original,
        ("surgetank.topic", b"flights.boarding"),
        ("surgetank.partition", b"7"),
        ("surgetank.offset", b"42"),
        ("surgetank.stage", b"decode"),
        ("surgetank.reason", b"undecodable"),
        ("surgetank.message", b"field 'x'"),
        ("surgetank.time", b"2023-11-14T22:13:20.250+00:00"),
        ("surgetank.arrived", b"1699999999123"),
        ("surgetank.pipeline", b"flights"),
    ]


def test_a_header_has_a_name_that_is_not_utf_8() -> None:
    """It is left out, which the message says: some clients could not even read the other headers."""
    odd = b"M\xfcller".decode(errors="surrogateescape")

    made = dead_letter_records(
        records(b"k", b"v", [("a", b"1"), (odd, b"2")]), letter("x" * 600), pipeline="p", now=NOW, bytes_max=BYTES_MAX
    )

    assert made.headers[0] == ("a", b"1")
    assert [name for name, _ in made.headers[1:]] == list(NAMES)
    message = parse_dead_letter(made.headers).message
    assert message.startswith("a header whose name is not UTF-8 is left out; xxx")
    assert len(message) == MESSAGE_MAX


def test_null_stays_null() -> None:
    """A null key and a null value are not turned into empty ones."""
    made = dead_letter_records(records(None, None, []), letter(), pipeline="flights", now=NOW, bytes_max=BYTES_MAX)
    assert made[:2] == (None, None)


@given(
    headers=HEADERS,
    message=st.text(max_size=MESSAGE_MAX),
    reason=st.sampled_from(REASONS),
    offset=st.integers(0, 2**63 - 1),
    now_ms=st.integers(0, 4_000_000_000_000),
)
def test_what_happened_is_read_back(
    headers: Headers, message: str, reason: DeadLetterReason, offset: int, now_ms: int
) -> None:
    """Whatever headers the record had, even ours from an earlier death: the last death and they come back."""
    dead = DeadLetter(1, reason, message)
    made = dead_letter_records(
        records(b"k", b"v", headers, offset), dead, pipeline="flights", now=now_ms / 1000, bytes_max=BYTES_MAX
    )
    assert parse_dead_letter(made.headers) == DeadLetterCause(
        source=TopicPartition("flights.boarding", 7),
        offset=offset,
        reason=reason,
        message=message,
        time=datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now_ms),
        arrived_ms=1_699_999_999_123,
        pipeline="flights",
    )
    assert made.headers[: -len(NAMES)] == headers


def test_dying_twice_tells_of_the_second_time() -> None:
    """A replayed dead letter that dies again: the last cause counts, and the first can be read beneath it."""
    first = dead_letter_records(
        records(b"k", b"v", [("trace", b"1")]), letter("first"), pipeline="flights", now=NOW, bytes_max=BYTES_MAX
    )
    second = dead_letter_records(
        records(b"k", b"v", first.headers), letter("second"), pipeline="flights", now=NOW + 1, bytes_max=BYTES_MAX
    )
    assert parse_dead_letter(second.headers).message == "second"
    assert parse_dead_letter(second.headers[: -len(NAMES)]).message == "first"


@pytest.mark.parametrize(("message", "kept"), [("x" * 9999, "x" * MESSAGE_MAX), ("a\udcffb", "a\\udcffb")])
def test_a_message_is_always_writable(message: str, kept: str) -> None:
    """Long messages are cut off, and what is no text is escaped."""
    made = dead_letter_records(
        records(b"k", b"v", []), letter(message), pipeline="flights", now=NOW, bytes_max=BYTES_MAX
    )
    assert parse_dead_letter(made.headers).message == kept


@pytest.mark.parametrize(
    ("change", "says"),
    [({name: None}, f"'{name}' is missing") for name in NAMES]
    + [
        ({"surgetank.offset": b"x"}, "not as it was written"),
        ({"surgetank.reason": b"boredom"}, "not as it was written"),
        ({"surgetank.time": b"noon"}, "not as it was written"),
        ({"surgetank.topic": b"\xff"}, "'surgetank.topic' is not UTF-8"),
    ],
)
def test_headers_that_are_not_ours_are_refused(change: dict[str, Any], says: str) -> None:
    """A header that is missing or garbled is a ValueError which says so."""
    made = dead_letter_records(records(b"k", b"v", []), letter(), pipeline="flights", now=NOW, bytes_max=BYTES_MAX)
    headers = [(name, change.get(name, value)) for name, value in made.headers]
    with pytest.raises(ValueError, match=says):
        parse_dead_letter(headers)


@pytest.mark.parametrize(
    ("key", "value", "trace", "kept"),
    [
        (4, 5_000, 4, (True, True)),  # the value does not fit
        (4, 5_000, 5_000, (True, False)),  # nor do the headers that came with it
        (5_000, 5_000, 4, (False, False)),  # nor does the key
        (5_000, None, 4, (False, False)),
    ],
)
def test_a_dead_letter_that_is_too_large_is_cut_until_it_fits(
    key: int, value: int | None, trace: int, kept: tuple[bool, bool]
) -> None:
    """What is left says where the event lies, and how large its value was."""
    original = [("trace", bytes(trace))]
    came = records(bytes(key), None if value is None else bytes(value), original)

    made = dead_letter_records(came, letter(), pipeline="flights", now=NOW, bytes_max=RecordBytes(2_000, 0))

    assert size(made) <= 2_000
    assert made.value is None
    assert (made.key == bytes(key), ("trace", bytes(trace)) in made.headers) == kept
    assert (OVERSIZE, str(value or 0).encode()) in made.headers
    assert (parse_dead_letter(made.headers).source, parse_dead_letter(made.headers).offset) == (
        TopicPartition("flights.boarding", 7),
        42,
    )


@given(st.none() | st.binary(max_size=300), st.none() | st.binary(max_size=300), HEADERS)
def test_a_dead_letter_that_fits_exactly_is_not_cut(key: bytes | None, value: bytes | None, headers: Headers) -> None:
    """At its own size it stays whole; with one byte less it is cut, if there is anything to cut."""

    def made(stored: int) -> DeadLetterRecord:
        bytes_max = RecordBytes(stored, 0)
        return dead_letter_records(
            records(key, value, headers), letter(), pipeline="flights", now=NOW, bytes_max=bytes_max
        )

    whole = made(1_000_000)

    assert made(size(whole)) == whole
    assert OVERSIZE in dict(made(size(whole) - 1).headers)


@given(st.none() | REPEATED, st.none() | REPEATED, HEADERS)
def test_a_dead_letter_that_fits_when_compressed_is_not_cut(
    key: bytes | None, value: bytes | None, headers: Headers
) -> None:
    """At its compressed size it stays whole, up to its uncompressed size; with one byte less of either it is cut."""

    def made(stored: int, uncompressed: int) -> DeadLetterRecord:
        bytes_max = RecordBytes(stored, uncompressed)
        return dead_letter_records(
            records(key, value, headers), letter(), pipeline="flights", now=NOW, bytes_max=bytes_max
        )

    whole = made(1_000_000, 0)
    needed = compressed_bytes(*whole)
    assume(needed < size(whole))

    assert made(needed, size(whole)) == whole
    assert OVERSIZE in dict(made(needed - 1, size(whole)).headers)
    assert OVERSIZE in dict(made(needed, size(whole) - 1).headers)


def test_what_is_left_of_a_dead_letter_is_measured_compressed_too() -> None:
    """The value is left out; headers and a key that fit only compressed stay."""
    value, trace = np.random.default_rng(0).bytes(3_000), ("trace", bytes(50_000))
    came = records(bytes(50_000), value, [trace])

    made = dead_letter_records(came, letter(), pipeline="flights", now=NOW, bytes_max=RecordBytes(2_000, 1_000_000))

    assert (made.key, made.value) == (bytes(50_000), None)
    assert trace in made.headers
    assert (OVERSIZE, b"3000") in made.headers
