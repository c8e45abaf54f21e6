"""Mutated events: none crashes the decoder, none is lost, none is read otherwise than the official format says."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.rows import fastavro_schema, read_row
from surgetank.codec.base import UNDECODABLE
from surgetank.codec.schema_repository import project_schemas
from tests.unit.codec.avro_samples import records_of, written
from tests.unit.codec.mutated_batches import mutated_batches
from tests.unit.codec.reference import Reference

CONTRACTS = project_schemas()
BYTES_MAX = 4096
INTS = [each["name"] for each in CONTRACTS.schema("boarding")["fields"] if each["type"] == "int"]
PLAIN = fastavro_schema(CONTRACTS.schema("boarding"))
REFERENCE = Reference(CONTRACTS.schema("boarding"))
FRAME = b"\0" + struct.pack(">i", CONTRACTS.current("boarding").id)


def event(i: int) -> bytes:
    """Return a good event."""
    row: dict[str, Any] = dict.fromkeys(INTS, i * 7 % 1440)
    row |= {"event_id": f"b-2013-01-01-UA-{i}-EWR-IAH-0515", "carrier": "UA", "origin": "EWR", "dest": "IAH"}
    row |= {"tailnum": None if i % 9 == 0 else f"N{i}UA"}
    row |= dict.fromkeys(("scheduled_departure", "scheduled_arrival", "boarding_at"), 1356998400000 + i)
    return written(PLAIN, row, CONTRACTS.current("boarding").id)


EVENTS = [event(i) for i in range(100)]


def mutate(rng: np.random.Generator, value: bytes) -> bytes | None:
    """Return the value after one or two accidents."""
    for _ in range(rng.integers(1, 3)):
        at = int(rng.integers(0, len(value) + 1))
        match rng.integers(0, 9):
            case 0:
                value = value[:at]
            case 1 | 2 | 3 if at < len(value):
                value = value[:at] + bytes([value[at] ^ (1 << int(rng.integers(0, 8)))]) + value[at + 1 :]
            case 4:
                other = EVENTS[int(rng.integers(0, len(EVENTS)))]
                value = value[:at] + other[int(rng.integers(0, len(other))) :]
            case 5:
                value += rng.bytes(int(rng.integers(1, 100)))
            case 6:
                value = value[:at] + rng.bytes(int(rng.integers(1, 12))) + value[at:]
            case 7:
                value = value[:5] + rng.bytes(len(value))
            case 8 if rng.integers(0, 4) == 0:
                return None
    return value


def assert_sound(values: Sequence[bytes | None]) -> tuple[int, int]:
    """Check a decoded batch against fastavro, row by row; return how many lived and died."""
    decoder = AvroDeserializer(CONTRACTS, "boarding", value_bytes_max=BYTES_MAX)
    batch, dead = decoder.deserialize(records_of(values))
    batch.columns.validate(full=True)
    kept, died = batch.rows.tolist(), [letter.row for letter in dead]
    assert kept == sorted(set(kept))
    assert died == sorted(set(died))
    assert sorted(kept + died) == list(range(len(values)))
    for row, found in zip(kept, REFERENCE.rows(batch.columns), strict=True):
        assert values[row] is not None
        assert found == read_row(values[row], PLAIN), values[row]
    for letter in dead:
        if letter.reason is UNDECODABLE:
            spoilt = values[letter.row]
            assert spoilt is None or not is_good(spoilt), (spoilt, letter)
    return len(kept), len(died)


def is_good(value: bytes) -> bool:
    """Whether fastavro reads the value and would write the same again, with integers in their range."""
    try:
        row = read_row(value, PLAIN)
        again = written(PLAIN, row, CONTRACTS.current("boarding").id)
    except Exception:  # noqa: BLE001 - it raises whatever it likes
        return False
    return again == value and all(-(2**31) <= row[name] < 2**31 for name in INTS)


def test_mutated_events_end_in_exactly_one_place() -> None:
    """Of mutated events in batches of mixed size, each is decoded as fastavro decodes it, or is a dead letter."""
    count = 20_000
    lived = died = 0
    for values in mutated_batches(EVENTS, mutate, count):
        here = assert_sound(values)
        lived, died = lived + here[0], died + here[1]
    assert lived > count / 10
    assert died > count / 10


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8))
def test_any_bytes_behind_a_good_frame_are_survived(bodies: list[bytes]) -> None:
    """Arbitrary bodies among good events raise nothing; the good events live."""
    values = [value for i, body in enumerate(bodies) for value in (FRAME + body, EVENTS[i])]
    lived, _ = assert_sound(values)
    assert lived >= len(bodies)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 99), st.integers(0, 200), st.binary(max_size=6), st.integers(0, 10))
def test_any_splice_is_sound(i: int, at: int, piece: bytes, cut: int) -> None:
    """Bytes cut out and put in anywhere give a record that fastavro reads alike, or a dead letter."""
    value = EVENTS[i][:at] + piece + EVENTS[i][at + cut :]
    lived, died = assert_sound([EVENTS[0], value, EVENTS[1]])
    assert lived + died == 3
