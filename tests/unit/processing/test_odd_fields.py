"""Events whose key, id and time have any Avro type and any value: each ends as one score or one dead letter."""

import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank import Events, Field, Pipeline, Scores
from surgetank.clock import SystemClock
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.wire import decoder
from surgetank.errors import TopologyError
from surgetank.processing.feature_log import FeatureLog
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import UNENCODABLE, ScoreWriter
from surgetank.record_compression import RecordBytes
from surgetank.records import (
    BatchOutput,
    PartitionRecords,
    RecordBatch,
    TaskId,
    TaskRecords,
    TopicPartition,
    large_binary,
)
from surgetank.serving.scorer import NOT_A_NUMBER
from surgetank.telemetry.metrics import Metrics
from surgetank.worker.wire_parts import deserializers
from tests.support.function_model import scorer_of
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1)


def varint(number: int) -> bytes:
    """Return a zigzag varint."""
    zigzag, out = (number << 1) ^ (number >> 63), bytearray()
    while zigzag > 0x7F:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    return bytes([*out, zigzag])


def sized(data: bytes) -> bytes:
    """Return bytes after their length."""
    return varint(len(data)) + data


def logical(kind: str, of: str, **more: Any) -> dict[str, Any]:
    """Return a schema with a logical type."""
    return {"type": of, "logicalType": kind, **more}


# Schemas of all types that have a text, and the encodings of any value of each.
TYPES: list[tuple[Any, st.SearchStrategy[bytes]]] = [
    ("string", st.text(max_size=20).map(lambda text: sized(text.encode()))),
    ("bytes", st.binary(max_size=20).map(sized)),
    ("int", INT.map(varint)),
    ("long", LONG.map(varint)),
    ("boolean", st.sampled_from([b"\0", b"\1"])),
    ("float", st.binary(min_size=4, max_size=4)),
    ("double", st.binary(min_size=8, max_size=8)),
    ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, st.sampled_from([b"\0", b"\2"])),
    ({"type": "fixed", "name": "F", "size": 16}, st.binary(min_size=16, max_size=16)),
    (logical("uuid", "fixed", name="U", size=16), st.binary(min_size=16, max_size=16)),
    (logical("uuid", "string"), st.text(max_size=36).map(lambda text: sized(text.encode()))),
    (logical("decimal", "bytes", precision=5, scale=2), st.binary(max_size=2).map(sized)),
    (
        logical("decimal", "fixed", name="D", size=3, precision=6, scale=6),
        st.binary(min_size=2, max_size=2).map(lambda low: b"\0" + low),
    ),
    (logical("date", "int"), INT.map(varint)),
    (logical("time-millis", "int"), INT.map(varint)),
    (logical("time-micros", "long"), LONG.map(varint)),
    *(
        (logical(f"{local}timestamp-{unit}", "long"), LONG.map(varint))
        for local in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    ),
]
TIMES = TYPES[-6:]


def nullable(kind: tuple[Any, st.SearchStrategy[bytes]]) -> tuple[Any, st.SearchStrategy[bytes]]:
    """Return the union of null and a type."""
    return ["null", kind[0]], st.just(b"\0") | kind[1].map(lambda value: b"\2" + value)


def renamed(kind: Any, name: str) -> Any:
    """Return a schema whose named types have a name of their own."""
    if isinstance(kind, list):
        return [renamed(each, name) for each in kind]
    return kind | {"name": kind["name"] + name} if isinstance(kind, dict) and "name" in kind else kind


@st.composite
def odd_events(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes]]:
    """Return a schema of an event with id, key, time and a number, and bodies of that schema."""
    every = st.sampled_from(TYPES) | st.sampled_from(TYPES).map(nullable)
    kinds = [draw(every), draw(every), draw(st.sampled_from(TIMES) | st.sampled_from(TIMES).map(nullable))]
    number = ("double", st.binary(min_size=8, max_size=8))
    fields = [(name, renamed(kind[0], name)) for name, kind in zip("ikt", kinds, strict=True)]
    bodies = draw(st.lists(st.tuples(*(kind[1] for kind in (*kinds, number))).map(b"".join), min_size=1, max_size=6))
    return record(*fields, ("x", "double")), bodies


def pipeline(**events: Any) -> Pipeline:
    """Return a pipeline of these events with a single feature."""
    return Pipeline(
        name="odd",
        events=Events("events", schema="event", **events),
        features=(Field("x"),),
        model="m",
        scores=Scores("scores"),
    )


def process(
    folder: Path,
    schema: Any,
    records: list[tuple[bytes | None, bytes | None]],
    arrived: int,
    declared: Pipeline | None = None,
) -> BatchOutput:
    """Take records through all steps of a pipeline; default: with the id i, the key k, the time t and the feature x."""
    declared, contracts, clock = declared or pipeline(id="i", key="k", time="t"), project_schemas(), SystemClock()
    events, _ = deserializers(declared, contracts_of(folder, schema), BYTES_MAX)
    processor = BatchProcessor(
        declared,
        events=events,
        facts={},
        stateful=None,
        feature_log=FeatureLog(declared, AvroSerializer(contracts, "features"), lambda _: {}),
        scorer=scorer_of(lambda matrix: matrix[:, 0].astype(np.float64), clock),
        scores=ScoreWriter(declared, AvroSerializer(contracts, "score"), bytes_max=BYTES_MAX),
        dead_letter_bytes_max=RecordBytes(BYTES_MAX, 0),
        key_rules={},
        key_bytes_max=None,
        clock=clock,
        metrics=Metrics(),
        warnings=RecordWarnings(clock),
        on_scored=lambda _, __: None,
    )
    n = len(records)
    rows = PartitionRecords(
        TopicPartition("events", 3),
        n,
        np.arange(n),
        np.full(n, arrived, dtype=np.int64),
        large_binary([key for key, _ in records]),
        large_binary([value for _, value in records]),
    )
    return processor.process([TaskRecords(TaskId("odd", 3), 1, (rows,))])


def score_rows(outcome: BatchOutput) -> list[dict[str, Any]]:
    """Return the decoded scores of a batch."""
    found = []
    for out in outcome.outgoing:
        if out.topic == "scores":
            zeros = np.zeros(len(out), dtype=np.int64)
            rows = PartitionRecords(TopicPartition("scores", 3), 0, zeros, zeros, out.keys, out.values)
            columns = decoder("score")(RecordBatch.of([TaskRecords(TaskId("any", 3), 1, (rows,))])).columns
            found += columns.select(["event_id", "key", "score", "source_offset"]).to_pylist()
    return found


@settings(max_examples=200, deadline=None)
@given(events=odd_events(), noise=st.lists(st.none() | st.binary(max_size=30), max_size=3), arrived=LONG)
def test_any_row_of_any_types_ends_as_one_score_or_one_dead_letter(
    events: tuple[dict[str, Any], list[bytes]], noise: list[bytes | None], arrived: int
) -> None:
    """No value of a key, an id or a time, and no arrival time, fails a batch."""
    schema, bodies = events
    values = [b"\0\0\0\0\1" + body for body in bodies] + noise
    with TemporaryDirectory() as folder:
        outcome = process(Path(folder), schema, [(value, value) for value in values], arrived)

    scored = [row["source_offset"] for row in score_rows(outcome)]
    assert sorted([*scored, *(letter.row for letter in outcome.dead)]) == list(range(len(values)))
    # A well-formed event fails only where it has no id, no time or no finite number.
    assert {letter.reason for letter in outcome.dead if letter.row < len(bodies)} <= {UNENCODABLE, NOT_A_NUMBER}


def test_a_key_field_holds_bytes(tmp_path: Path) -> None:
    """A name in Latin-1 and an id of 16 bytes are hexadecimal digits in the score; the record key stays."""
    schema = record(
        ("i", {"type": "fixed", "name": "Id", "size": 16}),
        ("k", ["null", "bytes"]),
        ("t", logical("timestamp-millis", "long")),
        ("x", "double"),
    )
    end = varint(1_700_000_000_000) + struct.pack("<d", 0.25)
    id_ = bytes(range(240, 256))
    values = [b"\0\0\0\0\1" + id_ + key + end for key in (b"\2" + sized(b"M\xfcller"), b"\0")]

    outcome = process(tmp_path, schema, [(b"M\xfcller", values[0]), (None, values[1])], 0)

    assert [(row["event_id"], row["key"], row["score"]) for row in score_rows(outcome)] == [
        (id_.hex(), "4dfc6c6c6572", 0.25),
        (id_.hex(), None, 0.25),
    ]
    (out,) = (each for each in outcome.outgoing if each.topic == "scores")
    assert out.keys.to_pylist() == [b"M\xfcller", None]
    assert not outcome.dead


@pytest.mark.parametrize("role", ["id", "key"])
@pytest.mark.parametrize(
    "kind",
    [
        record(("a", "int"), name="Inner"),
        ["null", record(("a", "int"), name="Inner")],
        {"type": "array", "items": "string"},
        {"type": "map", "values": "long"},
    ],
)
def test_a_key_field_is_a_record_array_or_map(tmp_path: Path, role: str, kind: Any) -> None:
    """The worker is refused at its start, with the field and its type."""
    schema = record(("i", "string"), ("odd", kind), ("t", logical("timestamp-millis", "long")), ("x", "double"))
    declared = pipeline(**{"time": "t", "id": "i"} | {role: "odd"})

    with pytest.raises(TopologyError, match=rf"events\.{role} names field 'odd', which is (struct|list|map)<.*text"):
        deserializers(declared, contracts_of(tmp_path, schema), BYTES_MAX)
