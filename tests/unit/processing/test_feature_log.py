"""Tests of the feature log: one exact record for each score, whatever the batches."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from surgetank import Events, Field, Pipeline, Ratio, Scores, Table, hours
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.wire import decoder
from surgetank.processing.feature_log import FeatureLog
from surgetank.records import (
    DecodedBatch,
    OutputRecords,
    PartitionRecords,
    RecordBatch,
    TaskId,
    TaskRecords,
    TopicPartition,
    large_binary,
)

EVENTS = Events("events", schema="event", key="key", time="t")
FACTS = Events("facts", schema="fact", key="key", time="t")
FED = Table("fed", facts=FACTS)
FEATURES = (FED.mean("a", window=hours(1)), Field("b"), FED.count(window=hours(1)))
PIPELINE = Pipeline(name="told", events=EVENTS, features=FEATURES, model="m", scores=Scores("scores"))
ENCODER = AvroSerializer(project_schemas(), "features")
DECODE = decoder("features")

Arrival = tuple[int, str, int]  # the number of the task, the topic, the offset


def slices(arrivals: Sequence[Arrival], epoch: int = 1) -> list[TaskRecords]:
    """Return a slice per task, with a run for each record."""
    return [
        TaskRecords(
            TaskId("told", number),
            epoch,
            tuple(
                PartitionRecords(
                    TopicPartition(topic, number),
                    at + 1,
                    np.array([at]),
                    np.zeros(1, dtype=np.int64),
                    large_binary([b"k"]),
                    large_binary([b""]),
                )
                for task, topic, at in arrivals
                if task == number
            ),
        )
        for number in (0, 1)
    ]


def recorded(
    recorder: FeatureLog,
    pieces: Sequence[TaskRecords],
    values: npt.NDArray[np.float64] | None = None,
    kept: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """Record all events of some slices, or those ``kept``, with these values [m, 3]; return what was written."""
    laid = RecordBatch.of(pieces)
    rows = laid.of_topic("events")
    m = len(rows)
    columns = {
        "event_id": pa.array([f"e{row}" for row in rows], pa.string()),
        "t": pa.array(np.arange(m), pa.timestamp("us", tz="UTC")),
    }
    values = np.zeros((m, 3)) if values is None else values
    chosen = np.arange(m) if kept is None else np.array(kept, dtype=np.int64)
    k = len(chosen)
    partitions = np.ones(k, dtype=np.int32)
    scores = OutputRecords("scores", partitions, large_binary([b"k"] * k), large_binary([b"s"] * k))
    out = recorder.record(
        pieces,
        DecodedBatch(laid, rows, pa.RecordBatch.from_pydict(columns)),
        values.astype(np.float32),
        {FEATURES[0].name: values[:, 0], FEATURES[2].name: values[:, 2]},
        chosen,
        scores,
    )
    assert out.topic == "told.features"
    assert out.partitions.tolist() == partitions.tolist()
    assert out.keys.equals(scores.keys)
    source = TopicPartition(out.topic, 0)
    written = PartitionRecords(source, 0, np.arange(len(out)), np.zeros(len(out), dtype=np.int64), out.keys, out.values)
    return DECODE(RecordBatch.of([TaskRecords(TaskId("told", 0), 1, (written,))])).columns


def test_statistics_are_written_as_computed_and_all_else_as_the_model_got_it() -> None:
    """In double precision where a table remembers; what is missing is null, an event without a score is left out."""
    values = np.array([[1 / 3, 0.1, 2.0], [5.0, 5.0, 5.0], [np.nan, np.inf, 16_777_217.0]])
    pieces = slices([(1, "events", 7), (1, "events", 8), (1, "events", 11)])

    found = recorded(FeatureLog(PIPELINE, ENCODER, lambda _: {}), pieces, values, kept=[0, 2])

    assert found["values"].to_pylist() == [[1 / 3, float(np.float32(0.1)), 2.0], [None, np.inf, 16_777_217.0]]
    assert found["event_id"].to_pylist() == ["e0", "e2"]
    assert found["source_topic"].to_pylist() == ["events"] * 2
    assert found["source_partition"].to_pylist() == [1, 1]
    assert found["source_offset"].to_pylist() == [7, 11]
    assert set(found["fingerprint"].to_pylist()) == {PIPELINE.spec.fingerprint()}


def test_aggregates_below_a_feature_are_logged_behind_the_features() -> None:
    """So that what follows from them can be checked bit by bit: each once, in double precision."""
    features = (Ratio("b", FEATURES[0]), Field("b"), FEATURES[2])
    pipeline = Pipeline(name="told", events=EVENTS, features=features, model="m", scores=Scores("scores"))

    found = recorded(
        FeatureLog(pipeline, ENCODER, lambda _: {}), slices([(1, "events", 7)]), np.array([[1 / 3, 0.1, 2.0]])
    )

    assert [each.name for each in pipeline.spec.logged[3:]] == [FEATURES[0].name]
    # The matrix of this test repeats the values by place: the model's inputs come first, then the aggregate.
    assert found["values"].to_pylist() == [[float(np.float32(1 / 3)), float(np.float32(0.1)), 2.0, 1 / 3]]


@given(st.lists(st.lists(st.tuples(st.sampled_from([0, 1]), st.sampled_from(["events", "facts"])), max_size=9)))
def test_each_record_tells_which_facts_came_before(batches: list[list[tuple[int, str]]]) -> None:
    """Two tasks, any batches: the offset behind the last fact of the task, also of an earlier batch or epoch."""
    began = {"facts": 5}
    recorder = FeatureLog(PIPELINE, ENCODER, lambda _: began)
    reached, position = {0: 5, 1: 5}, 20
    for batch in batches:
        arrivals, expected = [], []
        for number, topic in batch:
            arrivals.append((number, topic, position := position + 3))
        for number, topic, at in sorted(arrivals, key=lambda each: each[0]):  # as the slices are laid
            if topic == "facts":
                reached[number] = at + 1
            else:
                expected.append([reached[number]])

        assert recorded(recorder, slices(arrivals))["facts"].to_pylist() == expected


def test_a_task_that_went_back_begins_at_what_is_committed() -> None:
    """What was taken in an epoch that is over counts no more."""
    committed = {"facts": 5}
    recorder = FeatureLog(PIPELINE, ENCODER, lambda _: committed)
    recorded(recorder, slices([(0, "facts", 30)]))
    committed["facts"] = 12

    found = recorded(recorder, slices([(0, "events", 1)], epoch=2))

    assert found["facts"].to_pylist() == [[12]]
