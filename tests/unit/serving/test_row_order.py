"""Tests that ordered rows get the same scores to the last bit, whatever the model and the rows."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier

from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.row_order import ROWS_MIN, RowOrder, row_order
from surgetank.serving.scikit_trees import INPUT, OUTPUT, onnx_bytes

Float32s = npt.NDArray[np.float32]

FEATURES = 6


@pytest.fixture(scope="module")
def trees() -> bytes:
    """A trained ensemble whose answer depends mostly on column 3."""
    random = np.random.default_rng(5)
    values = random.normal(size=(3_000, FEATURES))
    return onnx_bytes(HistGradientBoostingClassifier(max_iter=20).fit(values, values[:, 3] > 0.2), FEATURES)


def opened(content: bytes) -> OnnxModel:
    """Load a model."""
    names = tuple(f"f{number}" for number in range(FEATURES))
    return OnnxModel(content, name="m", version="1", input=INPUT, output=OUTPUT, features=names)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(0, 3 * ROWS_MIN), seed=st.integers(0, 2**32 - 1), missing=st.floats(0, 1))
def test_scores_are_those_of_single_rows_to_the_last_bit(trees: bytes, rows: int, seed: int, missing: float) -> None:
    """Rows with NaN, infinities and equal rows included."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(rows, FEATURES)).round(1).astype(np.float32)
    matrix[random.random(matrix.shape) < missing] = np.nan
    matrix[random.random(matrix.shape) < 0.02] = np.inf
    model = opened(trees)

    scores = model.score(matrix)

    alone = np.array([model.score(row[np.newaxis])[0] for row in matrix])
    np.testing.assert_array_equal(scores, alone)


def test_the_most_important_feature_comes_first_in_the_order(trees: bytes) -> None:
    """After ordering, the column that the trees test most changes its bin least often."""
    order = row_order(onnx.load_model_from_string(trees), INPUT)
    assert order is not None
    matrix = np.random.default_rng(6).normal(size=(2_000, FEATURES)).astype(np.float32)

    rows = order.order(matrix)

    assert sorted(rows.tolist()) == list(range(2_000))
    passes = (matrix[rows, 3] > 0.2).astype(np.int8)
    assert _changes(passes) < 0.02 * _changes((matrix[:, 3] > 0.2).astype(np.int8))  # only within one bin


def _changes(branches: npt.NDArray[np.int8]) -> int:
    return int(np.abs(np.diff(branches)).sum())


def test_rows_of_one_bin_keep_their_order_and_nan_is_in_the_lowest() -> None:
    """The sort is stable; borders belong to the bin below them, as the branches of the trees do."""
    order = RowOrder([1], [[0.0, 1.0]])
    matrix = np.array([[9, 1.5], [8, 1.0], [7, np.nan], [6, 0.5], [5, 0.0], [4, -3.0]], dtype=np.float32)

    assert order.order(matrix).tolist() == [2, 4, 5, 1, 3, 0]


def linear(graph: onnx.GraphProto) -> None:
    """Replace all nodes by a sum of each row."""
    del graph.node[:]
    graph.node.append(onnx.helper.make_node("ReduceSum", [INPUT], [OUTPUT], keepdims=1))


def scaled(graph: onnx.GraphProto) -> None:
    """Scale the input before the trees, so that their thresholds are not those of the input."""
    graph.node[0].input[0] = "scaled"
    graph.node.insert(0, onnx.helper.make_node("Neg", [INPUT], ["scaled"]))


def read_twice(graph: onnx.GraphProto) -> None:
    """Let a second node read the input."""
    graph.node.append(onnx.helper.make_node("Neg", [INPUT], ["unused"]))


def in_a_tensor(graph: onnx.GraphProto) -> None:
    """Give the thresholds as a tensor, as for float64."""
    ensemble = graph.node[0]
    (plain,) = (each for each in ensemble.attribute if each.name == "nodes_values")
    tensor = onnx.numpy_helper.from_array(np.array(plain.floats, dtype=np.float64))
    ensemble.attribute.remove(plain)
    ensemble.attribute.append(onnx.helper.make_attribute("nodes_values_as_tensor", tensor))


@pytest.mark.parametrize("change", [linear, scaled, read_twice, in_a_tensor])
def test_other_models_keep_the_order_of_arrival(trees: bytes, change: Callable[[onnx.GraphProto], None]) -> None:
    """Only an ensemble whose thresholds are those of the input, and which alone reads it, is ordered."""
    model = onnx.load_model_from_string(trees)
    change(model.graph)

    assert row_order(model, INPUT) is None
