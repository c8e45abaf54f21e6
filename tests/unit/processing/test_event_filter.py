"""Conditions of a declaration: which events are taken, which are scored, and what is counted."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from surgetank import Above, Events, Feature, Field, IsNull, Not, Pipeline, Scores, Table, hours
from surgetank.clock import SystemClock
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import NOT_FRAMED
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.wire import decoder
from surgetank.features.spec import Float32s
from surgetank.processing.event_filter import filtering
from surgetank.processing.feature_log import FeatureLog
from surgetank.processing.feature_matrix import NO_FEATURES
from surgetank.processing.processor import BatchProcessor
from surgetank.processing.record_warnings import RecordWarnings
from surgetank.processing.score_records import ScoreWriter
from surgetank.record_compression import RecordBytes
from surgetank.records import (
    BatchOutput,
    DecodedBatch,
    PartitionRecords,
    RecordBatch,
    TaskId,
    TaskRecords,
    TopicPartition,
    large_binary,
)
from surgetank.telemetry.metrics import Metrics
from tests.support.function_model import scorer_of
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, written

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
EVENT = record(("event_id", "string"), ("t", MILLIS), ("a", ["null", "double"]))
PIPELINE = Pipeline(
    name="plain",
    events=Events("events", schema="event", time="t", key="event_id"),
    features=(Field("a"),),
    model="m",
    scores=Scores("scores"),
    predictions=False,
)


def event(number: int, a: float | None) -> bytes:
    """Return an event as bytes."""
    return written(EVENT, {"event_id": f"e{number}", "t": 1_000 * number, "a": a})


VALUES = [event(0, 1.0), event(1, -1.0), b"no event", event(3, None), event(4, 5.0)]


def echo(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Score an event with its first feature, a missing one with -9."""
    return np.nan_to_num(matrix[:, 0].astype(np.float64), nan=-9)


def run(folder: Path, pipeline: Pipeline, values: list[bytes], metrics: Metrics) -> BatchOutput:
    """Process one batch of events; features are logged."""
    contracts, clock, n = project_schemas(), SystemClock(), len(values)
    inner = AvroDeserializer(contracts_of(folder, EVENT), "event", value_bytes_max=BYTES_MAX)
    processor = BatchProcessor(
        pipeline,
        events=filtering(inner, pipeline.events.only),
        facts={},
        stateful=None,
        feature_log=FeatureLog(pipeline, AvroSerializer(contracts, "features"), lambda _: {}),
        scorer=scorer_of(echo, clock),
        scores=ScoreWriter(pipeline, AvroSerializer(contracts, "score"), bytes_max=BYTES_MAX),
        dead_letter_bytes_max=RecordBytes(BYTES_MAX, 0),
        key_rules={},
        key_bytes_max=None,
        clock=clock,
        metrics=metrics,
        warnings=RecordWarnings(clock),
        on_scored=lambda _, __: None,
    )
    zeros = np.zeros(n, dtype=np.int64)
    keys = large_binary([f"e{number}".encode() for number in range(n)])
    part = PartitionRecords(TopicPartition("events", 0), n, np.arange(n), zeros, keys, large_binary(values))
    return processor.process([TaskRecords(TaskId("plain", 0), 1, (part,))])


def offsets_of(outcome: BatchOutput, topic: str, schema: str) -> list[int]:
    """Return the offsets of the events that the records of a topic name."""
    (out,) = (each for each in outcome.outgoing if each.topic == topic)
    zeros = np.zeros(len(out), dtype=np.int64)
    part = PartitionRecords(TopicPartition(topic, 0), 0, zeros, zeros, out.keys, out.values)
    columns = decoder(schema)(RecordBatch.of([TaskRecords(TaskId("any", 0), 1, (part,))])).columns
    offsets: list[int] = columns["source_offset"].to_pylist()
    return offsets


@pytest.mark.parametrize("reason", ["only", "score_only"])
def test_filtered_events_have_no_outcome_and_are_counted(tmp_path: Path, reason: str) -> None:
    """The condition is 0 for the second event and missing for the fourth."""
    condition, metrics = Above("a", 0), Metrics()
    declared = (
        replace(PIPELINE, events=replace(PIPELINE.events, only=condition))
        if reason == "only"
        else replace(PIPELINE, score_only=condition)
    )

    outcome = run(tmp_path, declared, VALUES, metrics)

    assert offsets_of(outcome, "scores", "score") == offsets_of(outcome, "plain.features", "features") == [0, 4]
    assert [(letter.row, letter.reason) for letter in outcome.dead] == [(2, NOT_FRAMED)]
    assert (outcome.rows, outcome.scored, len(outcome.arrived_ms)) == (5, 2, 5)
    text = metrics.expose()[0].decode()
    assert f'surgetank_events_filtered_total{{reason="{reason}",topic="events"}} 2.0' in text


def test_a_condition_filters_every_event(tmp_path: Path) -> None:
    """Then there is nothing to produce, and the rows are processed all the same."""
    for declared in (
        replace(PIPELINE, events=replace(PIPELINE.events, only=Above("a", 9))),
        replace(PIPELINE, score_only=Above("a", 9)),
    ):
        outcome = run(tmp_path, declared, [VALUES[0], VALUES[1]], Metrics())
        assert (outcome.rows, outcome.outgoing, outcome.dead, outcome.scored) == (2, (), (), 0)


@dataclass(frozen=True, slots=True)
class Fails(Feature):
    """A condition that fails for a negative value."""

    @property
    def name(self) -> str:
        """The name."""
        return "fails"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The column."""
        return ("a",)

    @property
    def expects(self) -> str:
        """The type."""
        return "a number"

    def takes(self, dtype: pa.DataType) -> bool:
        """Take numbers."""
        return bool(pa.types.is_float64(dtype))

    def column(self, columns: pa.RecordBatch) -> Float32s:
        """Return the column."""
        values = columns["a"].cast(pa.float32()).to_numpy(zero_copy_only=False)
        if (values < 0).any():
            raise ValueError("negative")
        return values  # type: ignore[no-any-return]


@pytest.mark.parametrize("reason", ["only", "score_only"])
def test_a_condition_fails_for_an_event(tmp_path: Path, reason: str) -> None:
    """It is a dead letter, neither filtered nor scored, and the other events of its batch are."""
    declared = (
        replace(PIPELINE, events=replace(PIPELINE.events, only=Fails()))
        if reason == "only"
        else replace(PIPELINE, score_only=Fails())
    )
    metrics = Metrics()

    outcome = run(tmp_path, declared, VALUES, metrics)

    assert offsets_of(outcome, "scores", "score") == [0, 4]
    assert [(letter.row, letter.reason) for letter in outcome.dead] == [(1, NO_FEATURES), (2, NOT_FRAMED)]
    assert f'surgetank_events_filtered_total{{reason="{reason}",topic="events"}} 1.0' in metrics.expose()[0].decode()


def test_filtered_rows_are_named_beside_those_left(tmp_path: Path) -> None:
    """Row numbers refer to the records, as those of the events do."""
    n = len(VALUES)
    records = RecordBatch(
        (TopicPartition("events", 0),),
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        large_binary([None] * n),
        large_binary(VALUES),
    )
    inner = AvroDeserializer(contracts_of(tmp_path, EVENT), "event", value_bytes_max=BYTES_MAX)
    batch: DecodedBatch = filtering(inner, Not(IsNull("a"))).deserialize(records)[0]
    assert (batch.rows.tolist(), batch.filtered.tolist()) == ([0, 1, 4], [3])
    assert filtering(inner, None) is inner


def test_a_table_of_a_pipeline_that_filters_differs() -> None:
    """The state of a pipeline without a filter does not fit one with it."""
    features = (Table("known").count(window=hours(1)),)
    plain, filtering_ = (
        replace(PIPELINE, features=features, events=replace(PIPELINE.events, only=only))
        for only in (None, Above("a", 0))
    )
    scored = replace(plain, score_only=Above("a", 0))
    one, two, three = (each.table_states[0].layout.fingerprint() for each in (plain, filtering_, scored))
    assert one == three != two
