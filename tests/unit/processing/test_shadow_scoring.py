"""surgetank.processing.shadow_scoring: a shadow scores committed rows, and never touches the score path."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest

from surgetank import Events, Field, Pipeline, Scores
from surgetank.clock import SystemClock
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import engine_schemas
from surgetank.drills.wire import decoder
from surgetank.errors import SchemaError
from surgetank.processing.shadow_admission import Skipped
from surgetank.processing.shadow_records import SHADOW_SCORE, ShadowWriter
from surgetank.processing.shadow_scoring import ShadowScoring
from surgetank.records import Int64s, ModelVersion, OutputRecords, RecordBatch, TopicPartition
from surgetank.scored_rows import ScoredRows
from surgetank.serving.model import Float32s, Float64s
from surgetank.telemetry.metrics import Metrics
from tests.support.function_model import FunctionModel
from tests.support.small_models import constant_times_first, keyed_events

SECONDS = 30.0
PIPELINE = Pipeline(
    name="plain",
    events=Events("events", schema="event", time="t"),
    features=(Field("a"), Field("b")),
    model="m",
    scores=Scores("scores"),
)
KEYS: list[bytes | None] = [b"a", None, b"c", b""]
EVENTS = keyed_events(KEYS)
MATRIX = np.array([[1, 0], [2, 0], [3, 0], [4, 0]], dtype=np.float32)
NO_TIMES: Int64s = np.array([-1], dtype=np.int64)
SERVED = ScoredRows(  # the second row is a dead letter
    np.array([0, 2, 3]),
    np.array([10.0, 30.0, 40.0]),
    (),
    (ModelVersion("m", "1"), ModelVersion("m", "2")),
    np.array([0, 1, 0], dtype=np.int32),
)


class Topic:
    """Takes the records of the shadow topic."""

    def __init__(self) -> None:
        self.records: list[OutputRecords] = []
        self.changed = threading.Condition()

    def send(self, records: OutputRecords) -> int:
        """Take all records."""
        with self.changed:
            self.records.append(records)
            self.changed.notify_all()
        return len(records)

    def wait(self, rows: int) -> None:
        """Wait until there are so many records."""
        with self.changed:
            assert self.changed.wait_for(lambda: sum(map(len, self.records)) >= rows, SECONDS)

    def rows(self) -> list[dict[str, object]]:
        """Return the decoded records."""
        found: list[dict[str, object]] = []
        for each in self.records:
            assert each.topic == "plain.shadow-scores"
            batch = RecordBatch(
                (TopicPartition(each.topic, 3),),
                np.zeros(len(each), dtype=np.int32),
                np.arange(len(each), dtype=np.int64),
                np.zeros(len(each), dtype=np.int64),
                each.keys,
                each.values,
            )
            decoded = decoder(SHADOW_SCORE)(batch).columns
            assert decoded.num_rows == len(each)
            assert each.partitions.tolist() == [3] * len(each)
            found += [
                row | {"record_key": key} for row, key in zip(decoded.to_pylist(), each.keys.to_pylist(), strict=True)
            ]
        return found


class Bench:
    """A shadow on a worker that is not busy."""

    def __init__(self, writer: Callable[[], ShadowWriter] | None = None, deadline: float = SECONDS) -> None:
        self.topic, self.metrics = Topic(), Metrics()
        self.scoring = ShadowScoring(
            writer or (lambda: ShadowWriter(PIPELINE, AvroSerializer(engine_schemas(), SHADOW_SCORE))),
            self.topic.send,
            rows_max=lambda: 100,
            call_deadline_seconds=deadline,
            clock=SystemClock(),
            metrics=self.metrics,
        )

    def commit(self) -> None:
        """Take a batch through scoring and commit."""
        if (committed := self.scoring.after_commit(EVENTS, MATRIX, SERVED, len(KEYS), NO_TIMES)) is not None:
            committed()

    def skipped(self, reason: Skipped) -> float:
        """Return the number of rows that were skipped for this reason."""
        return self.metrics.shadow_rows_skipped.value(reason=reason)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the shadow's thread."""
        pause = threading.Event()
        for _ in range(3000):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError("the shadow did not do it")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Return a bench whose shadow ends with the test."""
    bench = Bench()
    yield bench
    bench.scoring.serve(None)


def test_the_shadow_topic_has_both_scores_of_each_event(bench: Bench) -> None:
    """From the same features; a row without a served score has one of the shadow all the same."""
    bench.scoring.serve(constant_times_first(5.0, "9"))
    bench.commit()
    bench.topic.wait(4)
    rows = bench.topic.rows()
    assert [row["score"] for row in rows] == [5.0, 10.0, 15.0, 20.0]
    assert [row["served_score"] for row in rows] == [10.0, None, 30.0, 40.0]
    assert [row["served_model_version"] for row in rows] == ["1", None, "2", "1"]
    assert {(row["model"], row["model_version"], row["pipeline"], row["error"]) for row in rows} == {
        ("m", "9", "plain", None)
    }
    assert [row["event_id"] for row in rows] == ["e0", "e1", "e2", "e3"]
    assert [row["record_key"] for row in rows] == KEYS
    assert [(row["source_topic"], row["source_partition"], row["source_offset"]) for row in rows] == [
        ("events", 3, offset) for offset in range(4)
    ]
    assert bench.metrics.shadow_rows_scored.value() == 4


def test_without_a_shadow_nothing_is_kept_for_later(bench: Bench) -> None:
    """A batch has nothing to call after its commit; neither has an empty one."""
    assert bench.scoring.after_commit(EVENTS, MATRIX, SERVED, 4, NO_TIMES) is None
    bench.scoring.serve(constant_times_first(5.0, "9"))
    nothing = keyed_events([])
    assert bench.scoring.after_commit(nothing, MATRIX[:0], SERVED, 0, NO_TIMES) is None


def test_a_batch_that_is_not_committed_is_not_scored(bench: Bench) -> None:
    """It will be scored again, and then its rows would be there twice."""
    bench.scoring.serve(constant_times_first(5.0, "9"))
    assert bench.scoring.after_commit(EVENTS, MATRIX, SERVED, 4, NO_TIMES) is not None
    bench.commit()
    bench.topic.wait(4)
    assert len(bench.topic.rows()) == 4


def test_a_shadow_that_raises_for_a_row_or_gives_no_number_is_counted(bench: Bench) -> None:
    """Its record says why; the other rows have their scores."""

    def fails(matrix: Float32s) -> Float64s:
        if (matrix[:, 0] == 2).any():
            raise RuntimeError("not two")
        return np.where(matrix[:, 0] == 3, np.nan, matrix[:, 0].astype(np.float64))

    bench.scoring.serve(FunctionModel(fails, version="bad"))
    bench.commit()
    bench.topic.wait(4)
    assert [(row["score"], row["error"]) for row in bench.topic.rows()] == [
        (1.0, None),
        (None, "model_error"),
        (None, "not_a_number"),
        (4.0, None),
    ]
    assert bench.metrics.shadow_rows_failed.value(reason="model_error") == 1
    assert bench.metrics.shadow_rows_failed.value(reason="not_a_number") == 1
    assert bench.metrics.shadow_rows_scored.value() == 2


def test_a_shadow_that_hangs_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """Commits go on; one call is in flight, and a line in the log says so once. The next shadow is not concerned."""
    bench, calls, may_end = Bench(deadline=0.0), list[int](), threading.Event()

    def hangs(matrix: Float32s) -> Float64s:
        calls.append(len(matrix))
        may_end.wait(SECONDS)
        return matrix[:, 0].astype(np.float64)

    bench.scoring.serve(FunctionModel(hangs, version="slow"))
    try:
        bench.commit()
        bench.until(lambda: bool(calls))
        for _ in range(3):
            bench.commit()
        assert bench.skipped(Skipped.HANGING) == 12
        assert calls == [4]
        assert len([each for each in caplog.records if "a call has run for" in each.message]) == 1
        bench.scoring.serve(constant_times_first(5.0, "9"))
        bench.commit()
        bench.topic.wait(4)
        assert {row["model_version"] for row in bench.topic.rows()} == {"9"}
    finally:
        may_end.set()
        bench.scoring.serve(None)
    bench.until(lambda: bench.skipped(Skipped.REPLACED) == 4)
    assert len(bench.topic.rows()) == 4


def test_rows_wait_for_a_slow_shadow_up_to_the_size_of_a_batch() -> None:
    """The memory that waiting rows take is bounded; they are scored when the call ends."""
    bench, may_end = Bench(), threading.Event()

    def slow(matrix: Float32s) -> Float64s:
        may_end.wait(SECONDS)
        return matrix[:, 0].astype(np.float64)

    bench.scoring.serve(FunctionModel(slow, version="slow"))
    for _ in range(30):
        bench.commit()
    assert bench.skipped(Skipped.WAITING) == 20
    may_end.set()
    bench.topic.wait(100)
    bench.scoring.serve(None)


def test_a_busy_worker_skips_its_shadow(bench: Bench) -> None:
    """As soon as a full batch waits."""
    bench.scoring.serve(constant_times_first(5.0, "9"))
    bench.scoring.connect(lambda: 100)
    bench.commit()
    assert bench.skipped(Skipped.BACKLOG) == 4


def test_a_shadow_whose_scores_cannot_be_written_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    """The log says why once; the writer is tried again with the next batch."""
    tries: list[int] = []

    def writer() -> ShadowWriter:
        tries.append(1)
        raise SchemaError("no such schema")

    bench = Bench(writer)
    bench.scoring.serve(constant_times_first(5.0, "9"))
    bench.commit()
    bench.commit()
    bench.until(lambda: bench.skipped(Skipped.NOT_READY) == 8)
    assert len(tries) == 2
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1
    bench.scoring.serve(None)


def test_an_event_that_cannot_be_encoded_has_no_record(bench: Bench) -> None:
    """As it has no score; the others have theirs."""
    identified = EVENTS.columns.set_column(0, "event_id", pa.array(["e0", None, "e2", "e3"]))
    events = type(EVENTS)(EVENTS.records, EVENTS.rows, identified)
    bench.scoring.serve(constant_times_first(5.0, "9"))
    committed = bench.scoring.after_commit(events, MATRIX, SERVED, 4, NO_TIMES)
    assert committed is not None
    committed()
    bench.topic.wait(3)
    assert [row["event_id"] for row in bench.topic.rows()] == ["e0", "e2", "e3"]
