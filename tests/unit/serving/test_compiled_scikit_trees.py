"""Compiled trees of trained models: the scores are those of ONNX Runtime, and of scikit-learn to rounding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from ops.bench.hand_trees import compiled_trees
from ops.bench.job import BUNDLE
from ops.bench.payments_job import BUNDLE as PAYMENTS_BUNDLE
from ops.training.flights_schedule import flights
from surgetank.serving import scikit_trees
from surgetank.serving.bundle import Tolerance, load
from surgetank.serving.engine_choice import worst_difference
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.trees.boundary_rows import boundary_rows
from surgetank.serving.trees.compiled_trees import CompiledTrees
from tests.support.random_trees import INPUT, OUTPUT, Float32s, graph, identity
from topology.recordings.flights import boarding_table

FEATURES = 4
NAMES = tuple(f"f{number}" for number in range(FEATURES))


@pytest.fixture(scope="module")
def examples() -> tuple[Float32s, Any]:
    """Numbers and a label that depends on three of them."""
    random = np.random.default_rng(3)
    matrix = random.normal(size=(2_000, FEATURES)).astype(np.float32)
    return matrix, matrix[:, 0] * matrix[:, 1] + matrix[:, 2] > 0.3


def both(model: bytes, names: Sequence[str], input_name: str, output: str) -> tuple[OnnxModel, CompiledTrees]:
    """Return the model by both engines."""
    of: dict[str, Any] = {"name": "m", "version": "1", "input": input_name, "output": output, "features": names}
    return OnnxModel(model, **of), CompiledTrees(model, **of)


def as_converters_write(trees: Sequence[Any], weights: Sequence[Any], **more: Any) -> bytes:
    """Return a TreeEnsembleClassifier of scikit-learn's trees; ``weights`` of a tree are float [nodes, classes]."""
    of: dict[str, list[Any]] = {
        name: [] for name in ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids")
    }
    classes: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for number, (tree, weight) in enumerate(zip(trees, weights, strict=True)):
        leaf = tree.children_left < 0
        below = tree.threshold.astype(np.float32)
        below = np.where(below > tree.threshold, np.nextafter(below, np.float32(-np.inf)), below)
        of["treeids"] += [number] * len(leaf)
        of["nodeids"] += range(len(leaf))
        of["modes"] += np.where(leaf, "LEAF", "BRANCH_LEQ").tolist()
        of["featureids"] += np.maximum(tree.feature, 0).tolist()
        of["values"] += np.where(leaf, 0, below).tolist()
        of["truenodeids"] += np.maximum(tree.children_left, 0).tolist()
        of["falsenodeids"] += np.maximum(tree.children_right, 0).tolist()
        for node in np.flatnonzero(leaf).tolist():
            for class_, each in enumerate(weight[node].tolist()):
                for name, value in (("treeids", number), ("nodeids", node), ("ids", class_), ("weights", each)):
                    classes[name].append(value)
    node = helper.make_node(
        "TreeEnsembleClassifier",
        [INPUT],
        ["label", "sums"],
        domain="ai.onnx.ml",
        classlabels_int64s=[0, 1],
        **{f"nodes_{name}": values for name, values in of.items()},
        **{f"class_{name}": values for name, values in classes.items()},
        **more,
    )
    return graph([node, identity()], FEATURES)


def check_alike(onnx_model: OnnxModel, trees: CompiledTrees, matrix: Float32s) -> None:
    """Compare the scores of these rows, and of rows at the thresholds."""
    for rows in (matrix, boundary_rows(trees.graph, matrix.shape[1])):
        worst = worst_difference(trees.score(rows), onnx_model.score(rows), Tolerance(relative=1e-6, absolute=2e-7))
        assert worst.beyond == 0, worst


def test_a_random_forest_of_hundreds_of_leaves(examples: tuple[Float32s, Any]) -> None:
    """Two weights in a leaf, no transform; each tree has far more leaves than a word."""
    forest = RandomForestClassifier(n_estimators=12, random_state=1).fit(*examples)
    trees = [each.tree_ for each in forest.estimators_]
    shares = [each.value[:, 0, :] / each.value[:, 0, :].sum(axis=1, keepdims=True) / len(trees) for each in trees]
    model = as_converters_write(trees, shares)
    served, compiled = both(model, NAMES, INPUT, OUTPUT)

    check_alike(served, compiled, examples[0])
    np.testing.assert_allclose(compiled.score(examples[0]), forest.predict_proba(examples[0])[:, 1], atol=1e-5)


def test_gradient_boosting_with_a_base_value(examples: tuple[Float32s, Any]) -> None:
    """One weight in a leaf, the base value, and the logistic as transform."""
    boosting = GradientBoostingClassifier(n_estimators=30, random_state=1).fit(*examples)
    trees = [each[0].tree_ for each in boosting.estimators_]
    prior = float(np.log(boosting.init_.class_prior_[1] / boosting.init_.class_prior_[0]))
    weights = [each.value[:, 0, :] * boosting.learning_rate for each in trees]
    model = as_converters_write(trees, weights, base_values=[prior], post_transform="LOGISTIC")
    served, compiled = both(model, NAMES, INPUT, OUTPUT)

    check_alike(served, compiled, examples[0])
    np.testing.assert_allclose(compiled.score(examples[0]), boosting.predict_proba(examples[0])[:, 1], atol=1e-5)


@pytest.mark.parametrize("leaves", [16, 40, 100])
def test_hist_gradient_boosting_with_missing_values(examples: tuple[Float32s, Any], leaves: int) -> None:
    """By the engine's own converter, with trees of one word and of several."""
    matrix = examples[0].copy()
    matrix[np.random.default_rng(4).random(matrix.shape) < 0.1] = np.nan
    trained = HistGradientBoostingClassifier(
        max_iter=20, max_leaf_nodes=leaves, min_samples_leaf=3, random_state=1
    ).fit(matrix, examples[1])
    model = scikit_trees.onnx_bytes(trained, FEATURES)
    served, compiled = both(model, NAMES, scikit_trees.INPUT, scikit_trees.OUTPUT)

    check_alike(served, compiled, matrix)
    np.testing.assert_allclose(compiled.score(matrix), trained.predict_proba(matrix)[:, 1], atol=1e-6)


def test_the_flights_have_the_scores_of_onnx_runtime() -> None:
    """Real flights, and rows at every threshold of the checked-in model."""
    bundle = load(BUNDLE.parents[1], flights.model)
    served, compiled = both(bundle.model.read_bytes(), bundle.features, scikit_trees.INPUT, scikit_trees.OUTPUT)
    (batch,) = boarding_table().slice(0, 20_000).combine_chunks().to_batches()

    check_alike(served, compiled, flights.spec.matrix(batch))


def test_the_payments_have_the_scores_of_onnx_runtime() -> None:
    """Rows at every threshold of the checked-in model."""
    bundle = load(PAYMENTS_BUNDLE.parents[1], "payments-odd")
    served, compiled = both(bundle.model.read_bytes(), bundle.features, scikit_trees.INPUT, scikit_trees.OUTPUT)

    check_alike(served, compiled, boundary_rows(compiled.graph, len(bundle.features), seed=5))
    assert compiled_trees(PAYMENTS_BUNDLE).version == "1"


def test_every_threshold_and_its_neighbours_are_among_the_boundary_rows() -> None:
    """Of the checked-in model of flights: a condition that is wrong by one float32 is found."""
    parsed = onnx.load_model(str(BUNDLE / "model.onnx"))
    of = {each.name: helper.get_attribute_value(each) for each in parsed.graph.node[0].attribute}
    rows = boundary_rows(compiled_trees(BUNDLE).graph, len(flights.spec.names))
    for mode, feature, value in zip(of["nodes_modes"], of["nodes_featureids"], of["nodes_values"], strict=True):
        if mode != b"LEAF":
            threshold = np.float32(value)
            column = set(rows[:, feature].tolist())
            for near in (threshold, *(np.nextafter(threshold, np.float32(side)) for side in (-np.inf, np.inf))):
                assert float(near) in column
