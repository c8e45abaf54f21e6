"""Random tree ensembles as ONNX graphs, with every mode of nodes, any number of leaves, and any thresholds."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "features", "score"
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")

Float32s = npt.NDArray[np.float32]
Random = np.random.Generator
Attributes = dict[str, Any]


def thresholds(random: Random, count: int) -> list[float]:
    """Return thresholds that meet: few numbers, zero of both signs, infinities, and the smallest number."""
    few = [-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, float(np.float32(0.1)), np.inf, -np.inf, float(np.float32(1e-45))]
    drawn = np.where(random.random(count) < 0.5, random.choice(few, count), random.normal(size=count))
    return [float(each) for each in drawn.astype(np.float32)]


def nodes(
    random: Random,
    *,
    trees: int,
    leaves: int,
    features: int,
    modes: Sequence[str] = MODES,
    missing: bool = True,
    balanced: bool = False,
) -> Attributes:
    """Return the attributes ``nodes_*`` of trees with this number of leaves each; a tree's first node is its root."""
    found: dict[str, list[Any]] = {
        name: []
        for name in ("treeids", "nodeids", "modes", "featureids", "values", "truenodeids", "falsenodeids", "missing")
    }
    for tree in range(trees):
        children: dict[int, tuple[int, int]] = {}
        open_leaves = [0]
        while len(open_leaves) < leaves:
            split = open_leaves.pop(0 if balanced else int(random.integers(len(open_leaves))))
            children[split] = (2 * len(children) + 1, 2 * len(children) + 2)
            open_leaves += children[split]
        count = 2 * len(children) + 1
        chosen = random.choice(list(modes), count)
        for node in range(count):
            passed, failed = children.get(node, (0, 0))
            found["treeids"].append(tree)
            found["nodeids"].append(node)
            found["modes"].append(str(chosen[node]) if node in children else "LEAF")
            found["truenodeids"].append(passed)
            found["falsenodeids"].append(failed)
        found["featureids"] += random.integers(0, features, count).tolist()
        found["values"] += thresholds(random, count)
        found["missing"] += random.integers(0, 2 if missing else 1, count).tolist()
    found["missing_value_tracks_true"] = found.pop("missing")
    return {f"nodes_{name}": values for name, values in found.items()}


def weights(random: Random, of: Attributes, targets: Sequence[int], kind: str = "target") -> Attributes:
    """Return the attributes ``target_*`` or ``class_*`` with a weight for each of these targets in every leaf."""
    rows = zip(of["nodes_treeids"], of["nodes_nodeids"], of["nodes_modes"], strict=True)
    leaves = [(tree, node, target) for tree, node, mode in rows if mode == "LEAF" for target in targets]
    drawn = (random.normal(size=len(leaves)) / 4).astype(np.float32)
    return {
        f"{kind}_treeids": [tree for tree, _, _ in leaves],
        f"{kind}_nodeids": [node for _, node, _ in leaves],
        f"{kind}_ids": [target for _, _, target in leaves],
        f"{kind}_weights": [float(each) for each in drawn],
    }


def regressor(of: Attributes, random: Random, *, targets: int = 1, **more: Any) -> onnx.NodeProto:
    """Return a TreeEnsembleRegressor from INPUT to "sums"."""
    return helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        ["sums"],
        domain="ai.onnx.ml",
        n_targets=targets,
        **of,
        **weights(random, of, range(targets)),
        **more,
    )


def classifier(of: Attributes, random: Random, *, classes: int, weighted: Sequence[int], **more: Any) -> onnx.NodeProto:
    """Return a TreeEnsembleClassifier from INPUT to "label" and "sums"."""
    return helper.make_node(
        "TreeEnsembleClassifier",
        [INPUT],
        ["label", "sums"],
        domain="ai.onnx.ml",
        classlabels_int64s=list(range(classes)),
        **of,
        **(weights(random, of, weighted, "class") | more),
    )


def graph(
    made: Sequence[onnx.NodeProto], features: int, constants: dict[str, Any] | None = None, output: str = OUTPUT
) -> bytes:
    """Return a model of nodes from INPUT, float32 [rows, features], to an output of any shape."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    built = helper.make_graph(
        list(made),
        "trees",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        tensors,
    )
    ml = 5 if any(each.op_type == "TreeEnsemble" for each in made) else 3
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", ml)]
    content: bytes = helper.make_model(built, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


def identity() -> onnx.NodeProto:
    """Return the node from "sums" to OUTPUT."""
    return helper.make_node("Identity", ["sums"], [OUTPUT])


def rows(random: Random, count: int, features: int) -> Float32s:
    """Return rows of numbers that meet thresholds, NaN and infinities."""
    matrix = np.array(thresholds(random, count * features), dtype=np.float32).reshape(count, features)
    matrix[random.random(matrix.shape) < 0.15] = np.nan
    return matrix


def changed(model: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a model whose graph was changed."""
    parsed = onnx.load_model_from_string(model)
    change(parsed.graph)
    content: bytes = parsed.SerializeToString()
    return content
