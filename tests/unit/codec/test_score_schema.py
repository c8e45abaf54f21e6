"""surgetank.codec.score_schema: scores that pass on fields of their events, and readers of both schemas."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from surgetank import Events, Field, Pipeline, Scores
from surgetank.codec import schema_repository
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.evolution import problems
from surgetank.codec.formats import deserializer_of
from surgetank.codec.schema_repository import SchemaRepository, project_schemas
from surgetank.codec.score_schema import (
    make_score_schema,
    score_deserializer,
    score_serializer,
    write_score_schema,
)
from surgetank.declaration import SCORE
from surgetank.errors import SchemaError, TopologyError
from surgetank.processing.score_records import ScoreWriter
from surgetank.records import DecodedBatch, ModelVersion, RecordBatch, TopicPartition, large_binary
from surgetank.scored_rows import ScoredRows
from surgetank.settings import Settings
from tests.unit.codec.avro_samples import BYTES_MAX, record, write_folder, written

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
KIND = {"type": "enum", "name": "Kind", "symbols": ["ONLINE", "SHOP"]}
EVENT = record(
    ("event_id", "string"),
    ("t", MILLIS),
    ("a", "double"),
    ("merchant", ["null", "string"]),
    ("kind", KIND),
    ("former", ["null", "Kind"]),
    ("tags", {"type": "array", "items": "string"}),
    ("price", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
)
PASSED = ("merchant", "kind", "former", "tags", "t")
PIPELINE = Pipeline(
    name="shop",
    events=Events("events", schema="event", time="t"),
    features=(Field("a"),),
    model="m",
    scores=Scores("scores", passthrough=PASSED, schema="shop_score"),
)
EVENTS: list[dict[str, Any]] = [
    {"merchant": "M1", "kind": "SHOP", "former": None, "tags": ["x", "y"], "t": 1_000},
    {"merchant": None, "kind": "ONLINE", "former": "SHOP", "tags": [], "t": 2_000},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of schemas with the events."""
    return write_folder(tmp_path, EVENT)


def schemas(folder: Path) -> SchemaRepository:
    """Return the schemas of a folder and of the engine, as they are now."""
    schema_repository._with_engine.cache_clear()  # a process reads a folder once
    return project_schemas(folder)


@pytest.fixture
def contracts(folder: Path) -> SchemaRepository:
    """Return the schemas, with that of the scores as the command writes it."""
    assert write_score_schema(folder, "shop_score", make_score_schema(schemas(folder), PIPELINE)) == 2
    return schemas(folder)


def records_of(topic: str, values: list[bytes]) -> RecordBatch:
    """Return records of one partition."""
    n = len(values)
    source, numbers = np.zeros(n, dtype=np.int32), np.arange(n, dtype=np.int64)
    return RecordBatch(
        (TopicPartition(topic, 0),), source, numbers, numbers, large_binary([None] * n), large_binary(values)
    )


def decoded(contracts: SchemaRepository) -> DecodedBatch:
    """Return the events as a worker decodes them."""
    values = [
        written(EVENT, {"event_id": f"e{row}", "a": 0.5, "price": b"\1", **each}) for row, each in enumerate(EVENTS)
    ]
    deserializer = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)
    batch, dead = deserializer.deserialize(records_of("events", values))
    assert not dead
    return batch


def scores_of(contracts: SchemaRepository, pipeline: Pipeline) -> list[bytes]:
    """Return the values of the scores of all events."""
    rows = np.arange(len(EVENTS), dtype=np.int64)
    scored = ScoredRows(rows, np.array([0.5, 0.75]), (), (ModelVersion("m", "1"),), np.zeros(2, dtype=np.int32))
    writer = ScoreWriter(pipeline, score_serializer(contracts, pipeline, Settings(), None), bytes_max=BYTES_MAX)
    records, _, dead = writer.write(decoded(contracts), scored, 5_000)
    assert not dead
    values: list[bytes] = records.values.to_pylist()
    return values


def test_scores_have_the_fields_of_their_events(contracts: SchemaRepository) -> None:
    """The official format, the id of the project, and for each field the value of the event."""
    avro = contracts.schema("shop_score")
    found = [fastavro.schemaless_reader(io.BytesIO(value[5:]), avro, None) for value in scores_of(contracts, PIPELINE)]
    assert [value[:5] for value in scores_of(contracts, PIPELINE)] == [b"\0\0\0\0\2"] * 2
    assert [[row[name] for name in ("merchant", "kind", "former", "tags")] for row in found] == [
        ["M1", "SHOP", None, ["x", "y"]],
        [None, "ONLINE", "SHOP", []],
    ]
    assert [row["t"].timestamp() for row in found] == [1, 2]


def test_a_reader_of_the_engines_schema_reads_such_scores(contracts: SchemaRepository) -> None:
    """Avro's resolution leaves out what the reader does not know."""
    own, base = contracts.schema("shop_score"), contracts.schema(SCORE)
    found = [fastavro.schemaless_reader(io.BytesIO(value[5:]), own, base) for value in scores_of(contracts, PIPELINE)]
    assert [(row["score"], row["source_offset"]) for row in found] == [(0.5, 0), (0.75, 1)]


def test_scores_of_both_schemas_are_read_from_one_topic(contracts: SchemaRepository) -> None:
    """Those written before ``passthrough`` was declared have nulls."""
    before = replace(PIPELINE, scores=Scores("scores"))
    values = [*scores_of(contracts, before), *scores_of(contracts, PIPELINE)]
    batch, dead = score_deserializer(contracts, PIPELINE, None, value_bytes_max=BYTES_MAX).deserialize(
        records_of("scores", values)
    )
    assert not dead
    assert batch.columns["merchant"].to_pylist() == [None, None, "M1", None]
    assert batch.columns["kind"].to_pylist() == [None, None, "SHOP", "ONLINE"]
    assert batch.columns["source_offset"].to_pylist() == [0, 1, 0, 1]


def test_the_written_schema_may_change_as_any_other(folder: Path, contracts: SchemaRepository) -> None:
    """Each field has a default: it can be taken out of a later version, and another put in."""
    released = folder / "released" / "shop_score"
    released.mkdir(parents=True)
    (released / "1.avsc").write_text((folder / "shop_score.avsc").read_text())
    fewer = replace(PIPELINE, scores=Scores("scores", passthrough=("merchant",), schema="shop_score"))
    (folder / "shop_score.avsc").write_text(json.dumps(make_score_schema(contracts, fewer)))
    ids = json.loads((folder / "ids.json").read_text())
    (folder / "ids.json").write_text(json.dumps(ids | {"7": {"schema": "shop_score", "version": 2}}))
    assert problems(folder) == []


def test_scores_lack_their_schema(folder: Path) -> None:
    """The error is the command that writes it."""
    with pytest.raises(SchemaError, match="does not exist; write it with: surgetank schemas score shop"):
        score_serializer(schemas(folder), PIPELINE, Settings(), None)


def _without(name: str) -> Callable[[Any], Any]:
    return lambda avro: {**avro, "fields": [each for each in avro["fields"] if each["name"] != name]}


def _changed(name: str, **of: Any) -> Callable[[Any], Any]:
    return lambda avro: {
        **avro,
        "fields": [{**each, **of} if each["name"] == name else each for each in avro["fields"]],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda avro: {**avro, "namespace": "shop"}, "must have the name 'Score' and the namespace 'surgetank'"),
        (_without("score"), "the field 'score' must be as in the schema 'score'"),
        (_changed("score", type="float"), "the field 'score' must be as in the schema 'score'"),
        (_without("merchant"), r'add the field \{"name": "merchant", "type": \["null", "string"\], "default": null\}'),
        (_changed("merchant", type=["null", "bytes"]), "'merchant' has another type than in schema 'event'"),
        (
            lambda avro: {
                **avro,
                "fields": [*avro["fields"], {"name": "more", "type": ["null", "int"], "default": None}],
            },
            "nothing fills the field 'more'",
        ),
    ],
)
def test_the_schema_of_scores_does_not_fit_the_events(
    folder: Path, contracts: SchemaRepository, change: Callable[[Any], Any], message: str
) -> None:
    """The error names the field, and what to write."""
    (folder / "shop_score.avsc").write_text(json.dumps(change(contracts.schema("shop_score"))))
    with pytest.raises(SchemaError, match=message):
        score_serializer(schemas(folder), PIPELINE, Settings(), None)


def test_a_field_that_events_lack_cannot_be_passed_on(contracts: SchemaRepository) -> None:
    """Neither can one that every score has."""
    for name, message in (
        ("shop", "'shop', which schema 'event' does not have"),
        ("event_id", "has the field 'event_id'"),
    ):
        wrong = replace(PIPELINE, scores=replace(PIPELINE.scores, passthrough=(name,)))
        with pytest.raises(SchemaError, match=message):
            score_serializer(contracts, wrong, Settings(), None)


@pytest.mark.parametrize(
    ("passthrough", "schema", "message"),
    [
        ("merchant", "mine", "write \\('merchant',\\)"),
        (("a", "a"), "mine", "'a' twice"),
        (("a",), SCORE, "give schema= a name"),
    ],
)
def test_passthrough_is_checked_at_import(passthrough: Any, schema: str, message: str) -> None:
    """Contradictions need no file."""
    with pytest.raises(TopologyError, match=message):
        Scores("scores", passthrough=passthrough, schema=schema)


def test_a_schema_of_scores_is_not_overwritten(folder: Path, contracts: SchemaRepository) -> None:
    """It may have been edited."""
    with pytest.raises(SchemaError, match=r"shop_score\.avsc exists; edit it"):
        write_score_schema(folder, "shop_score", make_score_schema(contracts, PIPELINE))


def test_the_engines_scores_need_no_file(folder: Path) -> None:
    """A pipeline without ``passthrough`` writes the engine's own schema."""
    plain = replace(PIPELINE, scores=Scores("scores"))
    serializer = score_serializer(schemas(folder), plain, Settings(), None)
    assert serializer.schema == AvroSerializer(schemas(folder), SCORE).schema
    assert pa.types.is_float64(serializer.schema.field("score").type)


def test_times_in_whole_numbers_are_passed_as_numbers(tmp_path: Path) -> None:
    """Their declared unit makes timestamps of them only for the pipeline, in 32 bits as in 64."""
    event = record(("event_id", "string"), ("t", MILLIS), ("a", "double"), ("booked", "int"), ("paid", "long"))
    pipeline = replace(
        PIPELINE,
        events=Events("events", schema="event", time="t", time_units={"booked": "s", "paid": "us"}),
        scores=Scores("scores", passthrough=("booked", "paid"), schema="shop_score"),
    )
    folder = write_folder(tmp_path, event)
    write_score_schema(folder, "shop_score", make_score_schema(schemas(folder), pipeline))
    contracts = schemas(folder)
    value = written(event, {"event_id": "e", "t": 1_000, "a": 0.5, "booked": 2**31 - 1, "paid": 8})
    batch, dead = deserializer_of(pipeline.events, contracts, value_bytes_max=BYTES_MAX).deserialize(
        records_of("events", [value])
    )
    writer = ScoreWriter(pipeline, score_serializer(contracts, pipeline, Settings(), None), bytes_max=BYTES_MAX)
    one, first = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int32)
    scored = ScoredRows(one, np.array([0.5]), (), (ModelVersion("m", "1"),), first)
    records, _, unwritten = writer.write(batch, scored, 5_000)
    assert (dead, unwritten) == ((), ())
    row = fastavro.schemaless_reader(io.BytesIO(records.values[0].as_py()[5:]), contracts.schema("shop_score"), None)
    assert (row["booked"], row["paid"]) == (2**31 - 1, 8)
