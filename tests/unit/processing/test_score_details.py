"""Scores of vectors and labels: written by the real encoder, read by new and by old readers."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from surgetank import Events, Field, Pipeline, Scores
from surgetank.cli.scores import print_lines, print_table
from surgetank.codec import schema_repository
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.evolution import unreadable
from surgetank.codec.schema_plan import topic_schemas
from surgetank.codec.schema_repository import SchemaRepository, engine_schemas, project_schemas
from surgetank.codec.score_schema import make_score_schema, score_deserializer, score_serializer, write_score_schema
from surgetank.declaration import SCORE, SCORE_DETAILS
from surgetank.errors import SchemaError, TopologyError
from surgetank.processing.score_records import ScoreWriter
from surgetank.records import DecodedBatch, ModelVersion, RecordBatch, TopicPartition, large_binary
from surgetank.scored_rows import VECTOR, ScoredRows, ScoreKind
from surgetank.settings import Settings
from tests.unit.codec.avro_samples import BYTES_MAX, record, write_folder, written

EVENT = record(
    ("event_id", "string"),
    ("t", {"type": "long", "logicalType": "timestamp-millis"}),
    ("a", "double"),
)
VECTORS = [[0.25, 0.75], [1.0, -2.0, 1e-300], []]
LABELS = ["late", "ünique", ""]


def pipeline_of(kind: ScoreKind) -> Pipeline:
    """Return a pipeline whose scores are of this kind."""
    return Pipeline(
        name="shop",
        events=Events("events", schema="event", time="t"),
        features=(Field("a"),),
        model="m",
        scores=Scores("scores", kind=kind),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of schemas with the events."""
    return write_folder(tmp_path, EVENT)


def schemas(folder: Path) -> SchemaRepository:
    """Return the schemas of a folder and of the engine, as they are now."""
    schema_repository._with_engine.cache_clear()  # a process reads a folder once
    return project_schemas(folder)


def records_of(topic: str, values: list[bytes]) -> RecordBatch:
    """Return records of one partition."""
    n = len(values)
    source, numbers = np.zeros(n, dtype=np.int32), np.arange(n, dtype=np.int64)
    return RecordBatch(
        (TopicPartition(topic, 0),), source, numbers, numbers, large_binary([None] * n), large_binary(values)
    )


def values_of(contracts: SchemaRepository, pipeline: Pipeline, kept: list[int]) -> list[bytes]:
    """Return the values of the scores of the kept of three events."""
    events = [written(EVENT, {"event_id": f"e{row}", "a": 0.5, "t": row}) for row in range(3)]
    deserializer = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX)
    batch: DecodedBatch = deserializer.deserialize(records_of("events", events))[0]
    kind = pipeline.scores.kind
    scored = ScoredRows(
        np.array(kept, dtype=np.int64),
        np.array([0.5 + row for row in kept]),
        (),
        (ModelVersion("m", "1"),),
        np.zeros(len(kept), dtype=np.int32),
        pa.array([VECTORS[row] for row in kept], VECTOR) if kind == "vector" else None,
        pa.array([LABELS[row] for row in kept], pa.string()) if kind == "label" else None,
    )
    writer = ScoreWriter(pipeline, score_serializer(contracts, pipeline, Settings(), None), bytes_max=BYTES_MAX)
    records, positions, dead = writer.write(batch, scored, 5_000)
    assert (dead, positions.tolist()) == ((), list(range(len(kept))))
    values: list[bytes] = records.values.to_pylist()
    return values


@pytest.mark.parametrize("kept", [[0, 1, 2], [0, 2], []])
@pytest.mark.parametrize("kind", ["vector", "label"])
def test_scores_have_a_vector_or_a_label(folder: Path, kind: ScoreKind, kept: list[int]) -> None:
    """As an independent Avro library reads them: one number as before, the other field is null."""
    contracts, pipeline = schemas(folder), pipeline_of(kind)
    avro = contracts.schema(SCORE_DETAILS)
    values = values_of(contracts, pipeline, kept)
    assert {value[:5] for value in values} <= {b"\0" + (1_000_003).to_bytes(4, "big")}
    found: list[Any] = [fastavro.schemaless_reader(io.BytesIO(value[5:]), avro, None) for value in values]
    assert [row["score"] for row in found] == [0.5 + row for row in kept]
    assert [row["vector"] for row in found] == [VECTORS[row] if kind == "vector" else None for row in kept]
    assert [row["label"] for row in found] == [LABELS[row] if kind == "label" else None for row in kept]


def test_readers_of_todays_scores_read_them(folder: Path) -> None:
    """By Avro's resolution, in both directions; the official library finds both schemas compatible."""
    contracts = schemas(folder)
    old, new = contracts.schema(SCORE), contracts.schema(SCORE_DETAILS)
    assert (unreadable(old, new), unreadable(new, old)) == ([], [])
    (value, *_) = values_of(contracts, pipeline_of("vector"), [0])
    row: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), new, old)
    assert (row["score"], "vector" in row) == (0.5, False)


@pytest.mark.parametrize("kind", ["number", "vector", "label"])
def test_a_topic_may_have_scores_of_all_kinds(folder: Path, kind: ScoreKind) -> None:
    """The kind of a pipeline may change: its tools read what was written before, without the other fields."""
    contracts = schemas(folder)
    values = [value for each in ("number", "vector", "label") for value in values_of(contracts, pipeline_of(each), [0])]
    reader = score_deserializer(contracts, pipeline_of(kind), None, value_bytes_max=BYTES_MAX)
    batch, dead = reader.deserialize(records_of("scores", values))
    assert not dead
    assert batch.columns["score"].to_pylist() == [0.5] * 3
    if kind != "number":
        assert batch.columns["vector"].to_pylist() == [None, VECTORS[0], None]
        assert batch.columns["label"].to_pylist() == [None, None, LABELS[0]]


def test_scores_of_one_number_are_as_they_were(folder: Path) -> None:
    """The same schema and id: not one byte more."""
    contracts = schemas(folder)
    (value,) = values_of(contracts, pipeline_of("number"), [0])
    assert value[:5] == b"\0\0\0\0\3"
    out = io.BytesIO()
    row: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), contracts.schema(SCORE), None)
    fastavro.schemaless_writer(out, contracts.schema(SCORE), row)
    assert out.getvalue() == value[5:]


def test_a_vector_and_fields_of_the_event_go_together(folder: Path) -> None:
    """The schema that the command writes has both; one without the vector is refused."""
    pipeline = replace(
        pipeline_of("vector"), scores=Scores("scores", kind="vector", passthrough=("a",), schema="shop_score")
    )
    write_score_schema(folder, "shop_score", make_score_schema(schemas(folder), pipeline))
    contracts = schemas(folder)
    (value,) = values_of(contracts, pipeline, [1])
    row: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), contracts.schema("shop_score"), None)
    assert (row["vector"], row["a"]) == (VECTORS[1], 0.5)

    numbers = replace(pipeline, scores=replace(pipeline.scores, kind="number"))
    (folder / "shop_score.avsc").write_text(json.dumps(make_score_schema(contracts, numbers)))
    with pytest.raises(SchemaError, match="'label' must be as in the schema 'score_details'"):
        score_serializer(schemas(folder), pipeline, Settings(), None)


def test_the_kind_says_which_schema_of_the_engine_is_written(folder: Path) -> None:
    """Also in the plan of a schema registry, and after the kind has changed."""
    assert [pipeline_of(kind).scores.schema for kind in ("number", "vector", "label")] == [
        SCORE,
        SCORE_DETAILS,
        SCORE_DETAILS,
    ]
    assert replace(pipeline_of("label").scores, kind="number").schema == SCORE
    planned = topic_schemas(pipeline_of("label"), schemas(folder), recording=False)
    assert "score_details" in {each.name for each in planned}
    assert {SCORE, SCORE_DETAILS} <= set(engine_schemas().names)


def test_a_kind_that_does_not_exist_is_refused() -> None:
    """The message has those that do."""
    with pytest.raises(TopologyError, match="kind is 'tensor'; it must be one of number, vector, label"):
        Scores("scores", kind="tensor")  # type: ignore[arg-type]


def test_scores_of_vectors_and_labels_are_printed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label in the table, all fields as JSON."""
    monkeypatch.setenv("COLUMNS", "125")
    contracts = schemas(folder)
    for kind in ("label", "vector"):
        pipeline = pipeline_of(kind)
        reader = score_deserializer(contracts, pipeline, None, value_bytes_max=BYTES_MAX)
        batch, _ = reader.deserialize(records_of("scores", values_of(contracts, pipeline, [0])))
        print_table(batch.columns, True)
        table = capsys.readouterr().out
        print_lines(batch.columns, True)
        row = json.loads(capsys.readouterr().out)
        assert ("late" in table) is (kind == "label")
        assert (row["label"], row["vector"]) == (("late", None) if kind == "label" else (None, VECTORS[0]))
