"""Tests that every record ends as one score or one dead letter, and that only scored records are logged."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from surgetank import Events, Field, Pipeline, Scores
from surgetank.clock import SystemClock
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import NOT_FRAMED
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.wire import decoder
from surgetank.processing.feature_log import FeatureLog
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import ScoreWriter
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
from surgetank.serving.scorer import MODEL_ERROR, NOT_A_NUMBER
from surgetank.telemetry.metrics import Metrics
from tests.support.function_model import scorer_of
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record

PIPELINE = Pipeline(
    name="plain",
    events=Events("events", schema="event", time="t"),
    features=(Field("a"), Field("b")),
    model="m",
    scores=Scores("scores"),
)
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
EVENT = record(("event_id", "string"), ("t", MICROS), ("a", "double"), ("b", ["null", "double"]))


def model(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Answer with the first column; raise for 13, and give no number for a 7."""
    if (matrix[:, 0] == 13).any():
        raise ValueError("not this one")
    return np.where(matrix[:, 0] == 7, np.nan, matrix[:, 0].astype(np.float64))


def run(folder: Path, values: list[bytes], *, recording: bool) -> BatchOutput:
    """Take events through a flow."""
    contracts, clock = project_schemas(), SystemClock()
    processor = BatchProcessor(
        PIPELINE,
        events=AvroDeserializer(contracts_of(folder, EVENT), "event", value_bytes_max=BYTES_MAX),
        facts={},
        stateful=None,
        feature_log=FeatureLog(PIPELINE, AvroSerializer(contracts, "features"), lambda _: {}) if recording else None,
        scorer=scorer_of(model, clock),
        scores=ScoreWriter(PIPELINE, AvroSerializer(contracts, "score"), bytes_max=BYTES_MAX),
        dead_letter_bytes_max=RecordBytes(BYTES_MAX, 0),
        key_rules={},
        key_bytes_max=None,
        clock=clock,
        metrics=Metrics(),
        warnings=RecordWarnings(clock),
        on_scored=lambda _, __: None,
    )
    n = len(values)
    arrived = np.zeros(n, dtype=np.int64)
    return processor.process(
        [
            TaskRecords(
                TaskId("plain", 3),
                1,
                (
                    PartitionRecords(
                        TopicPartition("events", 3),
                        n,
                        np.arange(n),
                        arrived,
                        large_binary([None] * n),
                        large_binary(values),
                    ),
                ),
            )
        ]
    )


@pytest.fixture
def values(tmp_path: Path) -> list[bytes]:
    """Eight events, whose times are finer than a millisecond; three of them cannot be scored."""
    columns = {
        "event_id": pa.array([f"e{number}" for number in range(8)]),
        "t": pa.array(1_356_998_400_000_001 + 1_500 * np.arange(8), pa.timestamp("us", "UTC")),
        "a": pa.array([0.0, 13.0, 2.0, 7.0, 4.0, 0.1, 6.0, 5.0]),
        "b": pa.array([0.5, 0.5, None, 0.5, 0.5, 0.5, 0.5, 0.5]),
    }
    values = (
        AvroSerializer(contracts_of(tmp_path, EVENT), "event")
        .serialize(pa.RecordBatch.from_pydict(columns))
        .to_pylist()
    )
    return [*values[:6], b"no event", values[7]]


def written(outcome: BatchOutput, topic: str, schema: str) -> pa.RecordBatch:
    """Return what went to a topic, decoded."""
    (out,) = (each for each in outcome.outgoing if each.topic == topic)
    assert set(out.partitions.tolist()) == {3}
    zeros = np.zeros(len(out), dtype=np.int64)
    piece = TaskRecords(
        TaskId("any", 0),
        1,
        (PartitionRecords(TopicPartition(topic, 0), 0, zeros, zeros, out.keys, out.values),),
    )
    return decoder(schema)(RecordBatch.of([piece])).columns


def test_what_is_recorded_is_that_of_the_scored_events(tmp_path: Path, values: list[bytes]) -> None:
    """Each score has a record with the values that it was made of; a dead letter has none."""
    outcome = run(tmp_path, values, recording=True)

    scores, features = written(outcome, "scores", "score"), written(outcome, "plain.features", "features")
    assert scores["event_id"].to_pylist() == features["event_id"].to_pylist() == ["e0", "e2", "e4", "e5", "e7"]
    assert scores["source_offset"].to_pylist() == features["source_offset"].to_pylist() == [0, 2, 4, 5, 7]
    first = [values[0] for values in features["values"].to_pylist()]
    assert first == scores["score"].to_pylist() == [0.0, 2.0, 4.0, float(np.float32(0.1)), 5.0]
    assert [values[1] for values in features["values"].to_pylist()] == [0.5, None, 0.5, 0.5, 0.5]
    assert [letter.reason for letter in outcome.dead] == [
        MODEL_ERROR,
        NOT_A_NUMBER,
        NOT_FRAMED,
    ]


def test_dead_letters_of_a_batch_are_warned_of(
    tmp_path: Path, values: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """By reason, with the position of the last one."""
    with caplog.at_level(logging.WARNING):
        run(tmp_path, values, recording=False)

    assert len(caplog.messages) == 3
    for stage, reason, offset in (
        ("infer", "model_error", 1),
        ("infer", "not_a_number", 3),
        ("decode", "not_framed", 6),
    ):
        assert any(f"({stage}, {reason}), the last at events[3] offset {offset}:" in said for said in caplog.messages)


def test_nothing_is_recorded_unless_it_is_wanted(tmp_path: Path, values: list[bytes]) -> None:
    """Scores and dead letters are all that leaves."""
    outcome = run(tmp_path, values, recording=False)

    assert [out.topic for out in outcome.outgoing] == ["scores", "plain.dead-letters"]


def test_a_time_finer_than_a_millisecond_is_rounded_down(tmp_path: Path, values: list[bytes]) -> None:
    """A score tells times in milliseconds, whatever the event has."""
    outcome = run(tmp_path, values, recording=True)

    for topic, schema in (("scores", "score"), ("plain.features", "features")):
        times = written(outcome, topic, schema)["event_time"].cast(pa.int64()).to_pylist()
        assert times == [1_356_998_400_000 + late for late in (0, 3, 6, 7, 10)]
