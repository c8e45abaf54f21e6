"""surgetank.serving.row_independence: a model whose scores depend on the batch is refused; all others are accepted."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ops.training.flights_schedule import flights
from surgetank.errors import ModelError
from surgetank.serving import bundle
from surgetank.serving.bundle import Tolerance
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.row_independence import ROWS, check_row_independence, random_rows
from surgetank.serving.row_order import ROWS_MIN
from tests.support import misbehaving_models
from tests.support.misbehaving_models import NAME

ROOT = Path(__file__).parents[3]
FEATURES = 3


def opened(nodes: list[onnx.NodeProto], initializers: dict[str, list[float]] | None = None) -> OnnxModel:
    """Return a model from x [rows, 3] to y by these nodes."""
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    graph = helper.make_graph(
        [axis, *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(v, dtype=np.float32), name) for name, v in (initializers or {}).items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    return OnnxModel(content, name="m", version="1", input="x", output="y", features=("a", "b", "c"))


DEFAULT = Tolerance()


def checked(model: OnnxModel, tolerance: Tolerance = DEFAULT) -> None:
    """Check a model as a worker does when it starts."""
    model.check_row_independence(relative=tolerance.relative, absolute=tolerance.absolute)


def total(*names: str) -> onnx.NodeProto:
    """Return the node that adds up each row."""
    return helper.make_node("ReduceSum", list(names), ["y"], keepdims=0)


def batch_norm_in_training() -> OnnxModel:
    """Return a model that normalizes each column by the rows of the batch."""
    norm = helper.make_node(
        "BatchNormalization", ["x", "scale", "bias", "mean", "var"], ["n", "m", "v"], training_mode=1
    )
    values = {"scale": [1.0] * 3, "bias": [0.0] * 3, "mean": [0.0] * 3, "var": [1.0] * 3}
    return opened([norm, total("n", "axis")], values)


def softmax_over_rows() -> OnnxModel:
    """Return a model with a softmax over the rows instead of the columns."""
    return opened([helper.make_node("Softmax", ["x"], ["s"], axis=0), total("s", "axis")])


def cumulative() -> OnnxModel:
    """Return a model that adds up the rows before: a lone row and the first row of a batch have the right score."""
    zero = helper.make_node("Constant", [], ["zero"], value_int=0)
    return opened([zero, helper.make_node("CumSum", ["x", "zero"], ["c"]), total("c", "axis")])


def dropout() -> OnnxModel:
    """Return a model that adds noise to each score."""
    noise = helper.make_node("RandomNormalLike", ["x"], ["r"], scale=0.1)
    return opened([noise, helper.make_node("Add", ["x", "r"], ["d"]), total("d", "axis")])


@pytest.mark.parametrize("model", [batch_norm_in_training, softmax_over_rows, cumulative, dropout])
def test_the_score_of_an_event_depends_on_its_batch(model: object) -> None:
    """Refused at start, with two scores of one row and the tolerance."""
    with pytest.raises(ModelError, match="depends on the rest of its batch") as caught:
        checked(model())  # type: ignore[operator]
    assert "1e-05 relative + 1e-06 absolute" in str(caught.value)
    assert "manifest" in str(caught.value)


def test_what_depends_on_the_order_only_is_found() -> None:
    """Scores that move with the position of a row, equal for a lone row and for the same batch again, are refused."""

    def by_position(matrix: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(matrix)) < 20, matrix[:, 0], matrix[:, 1]).astype(np.float64)

    with pytest.raises(ModelError, match="in another order"):
        check_row_independence("model m", by_position, FEATURES, relative=1e-5, absolute=1e-6)


def test_what_differs_only_when_a_batch_is_scored_twice_is_found() -> None:
    """As a model that keeps something from one call for the next."""
    calls: list[int] = []

    def second(matrix: np.ndarray) -> np.ndarray:
        calls.append(len(matrix))
        scores: np.ndarray = matrix.sum(axis=1).astype(np.float64)
        return scores + (len(calls) == 2)

    with pytest.raises(ModelError, match="when they are scored twice"):
        check_row_independence("model m", second, FEATURES, relative=1e-5, absolute=1e-6)


def test_the_tolerance_of_the_manifest_holds() -> None:
    """Scores that differ by a ten thousandth are refused by default, and accepted with a larger tolerance."""

    def drifting(matrix: np.ndarray) -> np.ndarray:
        scores: np.ndarray = matrix.sum(axis=1).astype(np.float64)
        return scores * (1 + 1e-4 * (len(matrix) == 1))

    with pytest.raises(ModelError):
        check_row_independence("model m", drifting, FEATURES, relative=1e-5, absolute=1e-6)
    check_row_independence("model m", drifting, FEATURES, relative=1e-3, absolute=0)


def test_a_small_sum_of_large_terms_may_differ_by_their_rounding() -> None:
    """As in a linear model: where terms cancel, the error is that of the terms, not of the small score."""

    def linear(matrix: np.ndarray) -> np.ndarray:
        scores: np.ndarray = (matrix[:, 0] - matrix[:, 1]).astype(np.float64)
        scores += 4e-6 * np.abs(matrix[:, :2]).sum(axis=1) * (len(matrix) == 1)
        return scores

    check_row_independence("model m", linear, FEATURES, relative=1e-5, absolute=1e-6)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("topology/models", "flights-late"),
        ("topology/models", "flights-late-memory"),
        ("ops/bench/models", "payments-odd"),
    ],
)
def test_the_models_of_the_repository_are_accepted(folder: str, name: str) -> None:
    """Tree ensembles are, with rows in the order of the trees; their manifests state the tolerance."""
    found = bundle.load(ROOT / folder, name)
    assert '"tolerance"' in (found.folder / "manifest.json").read_text()
    names = found.manifest
    model = OnnxModel(
        found.model, name=name, version="1", input=names.input, output=names.output, features=found.features
    )
    assert ROWS >= ROWS_MIN  # else the order of rows would not be tried
    checked(model, names.tolerance)


def test_models_that_raise_or_return_nan_for_some_rows_are_not_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row that raises is a dead letter later; a warning tells that the model was not checked."""
    for version, content in enumerate(
        [misbehaving_models.not_a_number_for_far_rows(), misbehaving_models.hangs_beyond(50_000.0)]
    ):
        found = misbehaving_models.publish(tmp_path, str(version), content)
        checked(
            OnnxModel(
                found.model, name=NAME, version="1", input="features", output="score", features=flights.spec.names
            )
        )
    assert not caplog.records

    def raises(matrix: np.ndarray) -> np.ndarray:
        raise ValueError("an index beyond the table")

    with caplog.at_level(logging.WARNING):
        check_row_independence("model m", raises, FEATURES, relative=1e-5, absolute=1e-6)
    assert "is not known" in caplog.text
    assert "an index beyond the table" in caplog.text


def test_the_random_rows_are_the_same_at_each_start() -> None:
    """A model is not accepted at one start and refused at the next."""
    assert np.array_equal(random_rows(7), random_rows(7))
    assert random_rows(7).dtype == np.float32
    assert (random_rows(7) >= 0).all()
