"""Compiled trees give the scores of ONNX Runtime for every ensemble, and each row the same score in every batch."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from surgetank.serving.onnx_without_telemetry import ort
from surgetank.serving.trees.boundary_rows import boundary_rows
from surgetank.serving.trees.compiled_trees import SEARCH_ROWS_MIN, CompiledTrees
from surgetank.serving.trees.ensemble import CannotCompile
from surgetank.serving.trees.layout import TESTS_PER_TREE_MAX, WORD_LEAVES
from tests.support.random_trees import (
    INPUT,
    MODES,
    OUTPUT,
    Float32s,
    classifier,
    graph,
    identity,
    nodes,
    regressor,
    rows,
)

FEATURES = 5
ROUNDING = 4e-7  # of a logistic or softmax in float32; a wrong leaf is a hundred thousand times more


def opened(model: bytes, features: int = FEATURES) -> CompiledTrees:
    """Return the compiled model."""
    names = tuple(f"f{number}" for number in range(features))
    return CompiledTrees(model, name="m", version="1", input=INPUT, output=OUTPUT, features=names)


def by_onnx_runtime(model: bytes, matrix: Float32s) -> Float32s:
    """Return the answer of ONNX Runtime on one thread, float32 [m, columns]."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (answer,) = session.run([OUTPUT], {INPUT: matrix})
    return np.asarray(answer, dtype=np.float32).reshape(len(matrix), -1)


def check_equal(model: bytes, matrix: Float32s, *, within: float = 0.0) -> None:
    """Compare the answers for all rows, rows at the thresholds among them; then single rows with all of them."""
    trees = opened(model)
    matrix = np.concatenate([matrix, boundary_rows(trees.graph, FEATURES)[::7]])
    found = trees.answer(matrix)
    np.testing.assert_allclose(found, by_onnx_runtime(model, matrix), rtol=within, atol=within)
    alone = np.concatenate([trees.answer(row[np.newaxis]) for row in matrix[:40]])
    np.testing.assert_array_equal(alone, found[:40])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    trees=st.integers(1, 12),
    leaves=st.one_of(st.integers(1, 2 * WORD_LEAVES), st.integers(60, 70), st.just(300)),
    modes=st.one_of(st.just(MODES), st.sampled_from(MODES).map(lambda mode: (mode,))),
    missing=st.booleans(),
    targets=st.sampled_from([1, 1, 3]),
)
def test_sums_are_those_of_onnx_runtime_to_the_last_bit(
    seed: int, trees: int, leaves: int, modes: tuple[str, ...], missing: bool, targets: int
) -> None:
    """Every mode of nodes, missing values, one to three hundred leaves, several targets, base values."""
    random = np.random.default_rng(seed)
    of = nodes(random, trees=trees, leaves=leaves, features=FEATURES, modes=modes, missing=missing)
    base = random.normal(size=targets).astype(np.float32).tolist()
    model = graph([regressor(of, random, targets=targets, base_values=base), identity()], FEATURES)

    check_equal(model, rows(random, 300, FEATURES))


@pytest.mark.parametrize("leaves", [WORD_LEAVES, WORD_LEAVES + 1, 64, 65, 190])
def test_trees_of_several_words_are_searched(leaves: int) -> None:
    """Balanced trees of more leaves than a word, and of more than 64, still take the way of whole blocks."""
    random = np.random.default_rng(leaves)
    of = nodes(random, trees=4, leaves=leaves, features=FEATURES, modes=["BRANCH_LEQ"], balanced=True)
    model = graph([regressor(of, random), identity()], FEATURES)
    if leaves <= 100:
        assert opened(model)._searchable

    check_equal(model, rows(random, 700, FEATURES))


def test_deep_trees_are_walked() -> None:
    """A search would test each of a thousand splits for every row."""
    random = np.random.default_rng(1)
    of = nodes(random, trees=3, leaves=1_000, features=FEATURES, modes=["BRANCH_LEQ"])
    model = graph([regressor(of, random), identity()], FEATURES)
    assert TESTS_PER_TREE_MAX < 1_000
    assert not opened(model)._searchable

    check_equal(model, rows(random, 700, FEATURES))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 400))
def test_the_score_of_a_row_does_not_depend_on_its_batch(seed: int, size: int) -> None:
    """To the last bit: in batches of any size and order, whichever way through the trees they take."""
    random = np.random.default_rng(seed)
    of = nodes(random, trees=20, leaves=16, features=FEATURES)
    sigmoid = helper.make_node("Sigmoid", ["sums"], [OUTPUT])
    trees = opened(graph([regressor(of, random), sigmoid], FEATURES))
    matrix = rows(random, 400, FEATURES)
    scores = trees.score(matrix)
    assert 1 < SEARCH_ROWS_MIN < 400

    order = random.permutation(400)
    parts = [trees.score(matrix[order[start : start + size]]) for start in range(0, 400, size)]

    np.testing.assert_array_equal(np.concatenate(parts), scores[order])


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
def test_regressors_are_transformed_as_onnx_runtime_does(transform: str, targets: int, aggregate: str) -> None:
    """It ignores the transform where there is one target."""
    random = np.random.default_rng(7)
    of = nodes(random, trees=9, leaves=12, features=FEATURES)
    more = {"post_transform": transform, "aggregate_function": aggregate, "base_values": [0.25] * targets}
    ensemble = regressor(of, random, targets=targets, **more)
    within = 0.0 if transform == "NONE" else ROUNDING
    check_equal(graph([ensemble, identity()], FEATURES), rows(random, 400, FEATURES), within=within)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize(
    ("classes", "weighted", "base"),
    [
        (2, [0], []),  # one weight per leaf: LightGBM, XGBoost, gradient boosting by skl2onnx
        (2, [0], [0.3]),
        (2, [0, 1], []),  # a random forest
        (3, [0, 1, 2], []),
        (3, [0, 1, 2], [0.1, 0.2, -0.3]),
    ],
)
@pytest.mark.parametrize("positive", [False, True])
def test_classifiers_give_the_probabilities_of_onnx_runtime(
    transform: str, classes: int, weighted: list[int], base: list[float], positive: bool
) -> None:
    """Two classes by one weight or two, more classes, with and without base values, weights of one sign or both."""
    random = np.random.default_rng(8)
    of = nodes(random, trees=9, leaves=12, features=FEATURES)
    more: dict[str, Any] = {"post_transform": transform}
    if base:
        more["base_values"] = base
    node = classifier(of, random, classes=classes, weighted=weighted, **more)
    if positive:
        (each,) = (each for each in node.attribute if each.name == "class_weights")
        each.floats[:] = [abs(weight) / 9 for weight in each.floats]
    within = 0.0 if transform == "NONE" and not (positive and weighted == [0]) else ROUNDING
    check_equal(graph([node, identity()], FEATURES), rows(random, 400, FEATURES), within=within)


def leaves_apart(random: np.random.Generator, members: list[float]) -> onnx.NodeProto:
    """Return a TreeEnsemble of ai.onnx.ml 5: two trees, and one that is a leaf."""
    modes = [0, 1, 2, 3, 4, 6 if members else 5]
    weights = random.normal(size=9).astype(np.float32)

    def tensor(values: Any, kind: Any = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, dtype=kind))

    return helper.make_node(
        "TreeEnsemble",
        [INPUT],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=1,
        tree_roots=[0, 3, 6],
        nodes_modes=tensor([*modes, 0], np.uint8),
        nodes_featureids=[0, 1, 2, 3, 4, 0, 0],
        nodes_splits=tensor([0.5, 0.0, 1.0, -1.0, 2.0, 0.5, 0.0]),
        nodes_truenodeids=[1, 0, 2, 4, 4, 6, 8],
        nodes_trueleafs=[0, 1, 1, 0, 1, 1, 1],
        nodes_falsenodeids=[2, 1, 3, 5, 5, 7, 8],
        nodes_falseleafs=[0, 1, 1, 0, 1, 1, 1],
        nodes_missing_value_tracks_true=[1, 0, 0, 1, 0, 0, 0],
        leaf_targetids=[0] * 9,
        leaf_weights=tensor(weights),
        **({"membership_values": tensor([*members, np.nan])} if members else {}),
    )


@pytest.mark.parametrize("members", [[], [2.0], [2.0, 1.0, 30.0]])
def test_ensembles_of_opset_5_have_the_sums_of_onnx_runtime(members: list[float]) -> None:
    """Leaves in a list of their own, a tree that is a leaf, and nodes that ask for the members of a set."""
    random = np.random.default_rng(9)
    model = graph([leaves_apart(random, members), identity()], FEATURES)
    check_equal(model, rows(random, 2_000, FEATURES))


@pytest.mark.parametrize("member", [0.0, -1.0, 31.0, 1.5])
def test_sets_that_onnx_runtime_reads_in_its_own_way_are_refused(member: float) -> None:
    """It takes 1.5 for 1 if a set has a member beyond 1 to 30, and refuses fractions."""
    model = graph([leaves_apart(np.random.default_rng(9), [1.0, member]), identity()], FEATURES)
    with pytest.raises(CannotCompile, match=f"a set has the member {member:g}"):
        opened(model)


def test_steps_around_the_trees_are_computed_alike() -> None:
    """A scaler, an imputer, arithmetic and a choice of columns before; arithmetic, a link and a column after."""
    random = np.random.default_rng(10)
    of = nodes(random, trees=9, leaves=12, features=4)
    ensemble = regressor(of, random, targets=2)
    ensemble.input[0] = "scaled"
    numbers = random.normal(size=FEATURES).astype(np.float32)
    steps = [
        helper.make_node("Cast", [INPUT], ["cast"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["cast", "offset"], ["moved"]),
        helper.make_node("Div", ["moved", "by"], ["divided"]),
        helper.make_node(
            "Imputer",
            ["divided"],
            ["filled"],
            domain="ai.onnx.ml",
            imputed_value_floats=[0.5] * FEATURES,
            replaced_value_float=np.nan,
        ),
        helper.make_node("ArrayFeatureExtractor", ["filled", "taken"], ["four"], domain="ai.onnx.ml"),
        helper.make_node(
            "Scaler", ["four"], ["scaled"], domain="ai.onnx.ml", offset=numbers[:4].tolist(), scale=[2.0] * 4
        ),
        ensemble,
        helper.make_node("Mul", ["sums", "half"], ["halved"]),
        helper.make_node("Add", ["one", "halved"], ["more"]),
        helper.make_node("Softmax", ["more"], ["shares"], axis=1),
        helper.make_node("ArrayFeatureExtractor", ["shares", "second"], [OUTPUT], domain="ai.onnx.ml"),
    ]
    constants = {
        "offset": numbers,
        "by": np.array([[0.5]], np.float32),
        "taken": np.array([3, 0, 1, 4]),
        "half": np.array(0.5, np.float32),
        "one": np.array([1.0], np.float32),
        "second": np.array([1]),
    }
    check_equal(graph(steps, FEATURES, constants), rows(random, 2_000, FEATURES), within=ROUNDING)


def test_several_threads_may_call_one_model() -> None:
    """Each call has room of its own."""
    random = np.random.default_rng(11)
    of = nodes(random, trees=50, leaves=16, features=FEATURES)
    trees = opened(graph([regressor(of, random), identity()], FEATURES))
    parts = [rows(random, 500, FEATURES) for _ in range(32)]
    expected = [trees.score(part) for part in parts]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(trees.score, parts))

    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_matrix_of_another_shape_is_an_error_of_the_call() -> None:
    """It is set on the future, as the protocol of a model says."""
    random = np.random.default_rng(12)
    of = nodes(random, trees=1, leaves=2, features=FEATURES)
    trees = opened(graph([regressor(of, random), identity()], FEATURES))
    assert trees.submit(np.zeros((3, FEATURES), np.float32)).result().shape == (3,)
    for wrong in (np.zeros((3, FEATURES + 1), np.float32), np.zeros((3, FEATURES))):
        with pytest.raises(ValueError, match=r"it must be float32 \[m, 5\]"):
            trees.submit(wrong).result()  # type: ignore[arg-type]
    view = np.zeros((FEATURES, 40), np.float32).T
    assert not view.flags["C_CONTIGUOUS"]
    assert trees.score(view).shape == (40,)
    assert trees.score(np.zeros((0, FEATURES), np.float32)).shape == (0,)
