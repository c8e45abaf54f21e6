"""The hand-written job does what the pipeline does: the comparison is of the same work."""

import json
from io import StringIO

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from ops.bench.hand_trees import TreesJob
from ops.bench.job import BUNDLE, Avro, BenchJob, Features
from ops.bench.output_check import TOLERANCE, check
from ops.bench.tables import tables
from ops.bench.tuning import BATCH_ROWS_MAX, PRINTED
from ops.training.flights_schedule import flights
from surgetank.errors import SurgetankError
from topology.recordings.flights import boarding_table

ROWS = 5000


@pytest.fixture(scope="module")
def events() -> pa.RecordBatch:
    """Return real flights."""
    batch: pa.RecordBatch = boarding_table().slice(0, ROWS).combine_chunks().to_batches()[0]
    return batch


def test_events_come_back_as_they_were(events: pa.RecordBatch) -> None:
    """What is encoded by hand decodes to the same columns, and carries the frame of schemas/ids.json."""
    avro = Avro("boarding")
    values = avro.encode(events.columns)
    decoded = avro.decode(values)
    assert {value[:5] for value in values} == {b"\0\0\0\0\x01"}
    for name in events.schema.names:
        assert decoded.field(name).cast(events[name].type).equals(events[name])


def test_the_features_by_hand_are_those_of_the_pipeline(events: pa.RecordBatch) -> None:
    """Every value is the same: neither side saves work by computing something else."""
    avro = Avro("boarding")
    decoded = avro.decode(avro.encode(events.columns))
    by_hand = Features(json.loads((BUNDLE / "manifest.json").read_text())).matrix(decoded)
    ours = flights.spec.matrix(pa.RecordBatch.from_struct_array(decoded))
    assert by_hand.tobytes() == ours.tobytes()


def test_a_score_says_where_its_event_lies(events: pa.RecordBatch) -> None:
    """Each of a full batch has its own event's id, key, partition and offset, and a probability."""
    values = Avro("boarding").encode(events.columns)
    assert len(values) <= BATCH_ROWS_MAX
    partitions, offsets = [row % 8 for row in range(ROWS)], list(range(ROWS))
    scores = Avro("score").decode(BenchJob("bench", "some.events").score(values, partitions, offsets)).to_pylist()
    assert [score["event_id"] for score in scores] == events["event_id"].to_pylist()
    assert [score["key"] for score in scores] == events["tailnum"].to_pylist()
    assert [(s["source_partition"], s["source_offset"]) for s in scores] == list(zip(partitions, offsets, strict=True))
    assert all(0 < score["score"] < 1 for score in scores)
    assert {(score["pipeline"], score["source_topic"]) for score in scores} == {("bench", "some.events")}


def test_the_loop_with_compiled_trees_gives_the_same_scores(events: pa.RecordBatch) -> None:
    """Within the tolerance that the comparison of contenders allows."""
    matrix = flights.spec.matrix(events)
    by_onnx_runtime, by_trees = BenchJob("bench", "events").infer(matrix), TreesJob("bench", "events").infer(matrix)
    np.testing.assert_allclose(by_trees, by_onnx_runtime, rtol=TOLERANCE.relative, atol=TOLERANCE.absolute)


def test_contenders_that_disagree_are_found() -> None:
    """A bench in which one of them does another job gives no figures."""
    same = {(0, 0): (b"k", 0.5), (0, 1): (b"k", 0.25)}
    check({"a": same, "b": dict(same), "c": {(0, 1): (b"k", 0.25)}})
    with pytest.raises(SurgetankError, match=r"a and b did not do the same job: event \(0, 1\)"):
        check({"a": same, "b": same | {(0, 1): (b"k", 0.26)}})
    check({"a": same, "b": same | {(0, 1): (b"k", 0.25 + 2e-7)}})  # within the tolerance of a manifest
    with pytest.raises(SurgetankError, match="a and b did not do the same job"):
        check({"a": same, "b": same | {(0, 1): (b"l", 0.25)}})


def test_every_setting_is_printed() -> None:
    """Who reads the tables can see how each contender was tuned."""
    report = {
        "latency_ms": {},
        "settings": {"rounds": 3, "contenders": PRINTED},
    }
    console = Console(file=StringIO(), width=4000)
    for table in tables(report):
        console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for settings in PRINTED.values():
        assert all(f"{name}=" in printed for name in settings)
