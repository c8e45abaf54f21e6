"""The contracts of Model, Router and BatchSizer. A new implementation is one more parameter."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
import onnx
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from surgetank.clock import SystemClock
from surgetank.records import DecodedBatch, ModelVersion, RecordBatch
from surgetank.serving.batch_size_choice import BatchLimits
from surgetank.serving.batch_sizer import BatchSizer, FixedBatchSizer
from surgetank.serving.latency_batch_sizer import LatencyBatchSizer
from surgetank.serving.model import CompletionGate, Float32s, Float64s, Model
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.prediction_cache.cached_model import CachedModel
from surgetank.serving.router import Route, Router, SingleModelRouter
from surgetank.serving.scorer import MODEL_ERROR, Scorer
from tests.support.function_model import FunctionModel

SECONDS = 30.0


def onnx_model() -> Model:
    """Return a model that sums three features; it fails on any other number."""
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    total = helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)
    given = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 3])
    answer = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])
    made = helper.make_model(
        helper.make_graph([axis, total], "sum", [given], [answer]), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    content = made.SerializeToString()
    return OnnxModel(content, name="sum", version="7", input="x", output="y", features=("a", "b", "c"))


def function_model() -> Model:
    """Return the model of the tests' support, which must keep the contract too."""

    def total(matrix: Float32s) -> Float64s:
        if matrix.shape[1] != 3:
            raise ValueError("three features")
        scores: Float64s = matrix.sum(axis=1).astype(np.float64)
        return scores

    return FunctionModel(total, name="sum", version="7")


def cached_model() -> Model:
    """Return a model with a prediction cache."""
    return CachedModel(
        function_model(), bytes_max=1 << 16, ttl_seconds=60, clock=SystemClock(), on_batch=lambda _: None
    )


@pytest.fixture(params=[onnx_model, function_model, cached_model])
def model(request: pytest.FixtureRequest) -> Model:
    """Return each model in turn: it sums three features."""
    make: Callable[[], Model] = request.param
    return make()


def matrix_of(rows: int) -> Float32s:
    """Return float32 [rows, 3] without two equal rows."""
    return np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)


@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_a_model_returns_one_float64_for_each_row(model: Model, rows: int) -> None:
    """The same for a row whatever other rows are in the call."""
    assert (model.name, model.version) == ("sum", "7")
    assert model.rows_max >= 1
    matrix = matrix_of(rows)

    scores = model.submit(matrix).result(SECONDS)

    assert (str(scores.dtype), scores.shape) == ("float64", (rows,))
    np.testing.assert_array_equal(scores, matrix.sum(axis=1))
    np.testing.assert_array_equal(model.submit(matrix[-1:]).result(SECONDS), scores[-1:])


def test_an_error_of_a_model_is_in_the_future(model: Model) -> None:
    """``submit`` itself raises nothing."""
    failed = model.submit(np.zeros((2, 4), dtype=np.float32))
    assert isinstance(failed.exception(SECONDS), Exception)


class PendingModel:
    """A ``Model`` whose calls end when the test says so, as those of a server would."""

    name, version, rows_max = "pending", "1", 2

    def __init__(self) -> None:
        self.calls: list[tuple[Float32s, Future[Float64s]]] = []
        self.submitted = threading.Semaphore(0)

    def submit(self, matrix: Float32s) -> Future[Float64s]:
        """Return a future that is not finished."""
        future: Future[Float64s] = Future()
        self.calls.append((matrix, future))
        self.submitted.release()
        return future

    def finish(self, number: int) -> None:
        """End a call: the scores are the first column."""
        matrix, future = self.calls[number]
        future.set_result(matrix[:, 0].astype(np.float64))


@given(order=st.permutations(range(4)))
def test_results_leave_the_gate_in_the_order_of_submission(order: list[int]) -> None:
    """Whichever call ends first; the oldest call in progress is known."""
    model, gate = PendingModel(), CompletionGate(SystemClock())
    for number in range(4):
        gate.submit(model, np.full((1, 3), number, dtype=np.float32))
    assert gate.started_at is not None
    for number in order:
        model.finish(number)

    assert [gate.take().tolist() for _ in range(4)] == [[0.0], [1.0], [2.0], [3.0]]
    assert gate.started_at is None


def test_calls_are_as_large_as_the_model_allows_and_run_side_by_side() -> None:
    """Five rows are three calls of a model that takes two; all are submitted before the first has ended."""
    model = PendingModel()
    scorer = Scorer(SingleModelRouter(model), SystemClock())
    found: list[list[float]] = []
    thread = threading.Thread(target=lambda: found.append(scorer.score(events_of(5), matrix_of(5)).scores.tolist()))
    thread.start()
    for _ in range(3):
        assert model.submitted.acquire(timeout=SECONDS)
    assert [len(matrix) for matrix, _ in model.calls] == [2, 2, 1]
    for number in (2, 0, 1):
        model.finish(number)
    thread.join(SECONDS)

    assert found == [[0.0, 3.0, 6.0, 9.0, 12.0]]


def test_a_failed_call_does_not_concern_the_others() -> None:
    """Only the row that fails alone is dead-lettered, with its own row number."""

    def fails(matrix: Float32s) -> Float64s:
        if (matrix[:, 0] == 9).any():
            raise RuntimeError("not nine")
        return matrix[:, 0].astype(np.float64)

    scored = Scorer(SingleModelRouter(FunctionModel(fails, rows_max=2)), SystemClock()).score(
        events_of(5), matrix_of(5)
    )

    assert scored.kept.tolist() == [0, 1, 2, 4]
    assert [(letter.row, letter.reason) for letter in scored.dead] == [(13, MODEL_ERROR)]


def single() -> Router:
    """Return the router of one model."""
    return SingleModelRouter(function_model())


@pytest.mark.parametrize("make", [single])
@given(rows=st.integers(0, 50))
def test_a_router_sends_every_row_to_one_model(make: Callable[[], Router], rows: int) -> None:
    """Positions ascend within a route, and together are those of the batch."""
    routes = make().primary(events_of(rows))

    positions = [np.arange(rows)[route.positions].tolist() for route in routes]
    assert all(each == sorted(each) for each in positions)
    assert sorted(at for each in positions for at in each) == list(range(rows))


def test_each_score_names_the_model_that_computed_it() -> None:
    """Rows of two models return to their positions."""
    one, other = (
        FunctionModel(lambda matrix, sign=sign: sign * matrix[:, 0].astype(np.float64), version=version)  # type: ignore[misc]
        for sign, version in ((1, "1"), (-1, "2"))
    )

    class Halves:
        """Sends every other row to the other model."""

        def primary(self, events: DecodedBatch) -> Sequence[Route]:
            """Return two routes."""
            return Route(one, np.arange(0, len(events), 2)), Route(other, np.arange(1, len(events), 2))

    scored = Scorer(Halves(), SystemClock()).score(events_of(4), matrix_of(4))

    assert scored.scores.tolist() == [0.0, -3.0, 6.0, -9.0]
    assert scored.models == (ModelVersion("m", "1"), ModelVersion("m", "2"))
    assert scored.model.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "sizer",
    [
        FixedBatchSizer(1),
        FixedBatchSizer(4096),
        LatencyBatchSizer(BatchLimits(0.001, 1, 1, 1), on_chosen=lambda size, cost: None),
    ],
)
def test_a_batch_has_room_for_at_least_one_row(sizer: BatchSizer) -> None:
    """Otherwise a worker would never make progress."""
    assert sizer.rows_max() >= 1


def events_of(count: int) -> DecodedBatch:
    """Return events with the row numbers 10, 11, 12 ..."""
    columns = pa.RecordBatch.from_pydict({"n": pa.array(range(count), pa.int64())})
    return DecodedBatch(RecordBatch.of(()), np.arange(10, 10 + count, dtype=np.int64), columns)
