"""Reads the trees of one ONNX node: TreeEnsembleRegressor, TreeEnsembleClassifier, TreeEnsemble of ai.onnx.ml 5.

Where the specification is vague, ONNX Runtime decides: a regressor with one target ignores every transform but PROBIT,
and a binary classifier whose weights are all for one class makes two columns from one sum. PROBIT is refused: ONNX
Runtime's approximation of it keeps three digits near one half, so equal scores could not be promised.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from surgetank.serving.model import Float32s
from surgetank.serving.trees.ensemble import CannotCompile, Ensemble, Split, Transform, condition

OPERATORS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble")

_LEAF = "LEAF"
_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
_MEMBERS = range(1, 31)  # of sets for which ONNX Runtime does what the specification says
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")

# Of one tree's leaf: the weight of each target, by target.
Weights = dict[int, float]
Attributes = dict[str, Any]


def read(node: onnx.NodeProto, features: int) -> Ensemble:
    """Return the ensemble of a node with ``features`` inputs. Raises CannotCompile, with the cause."""
    of: Attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type == "TreeEnsemble":
        found = _leaves_apart(of, features)
    elif node.op_type == "TreeEnsembleClassifier":
        found = _classifier(of, features)
    else:
        found = _regressor(of, features)
    used = [split.condition.feature for split in found.splits]
    if used and not 0 <= min(used) <= max(used) < features:
        raise CannotCompile(f"a node tests feature {max(used)}, and the ensemble has {features} features")
    return found


def _regressor(of: Attributes, features: int) -> Ensemble:
    targets = int(of.get("n_targets", 1))
    weights = _by_leaf(of, "target", "target_weights")
    return _made(of, features, weights, targets, _text(of.get("post_transform", "NONE")))


def _classifier(of: Attributes, features: int) -> Ensemble:
    classes = len(of.get("classlabels_strings", ())) or len(of.get("classlabels_int64s", ()))
    name, base = _text(of.get("post_transform", "NONE")), len(of.get("base_values", ()))
    weights = _by_leaf(of, "class", "class_weights")
    weighted = {target for each in weights.values() for target in each}
    if classes < 2:
        raise CannotCompile(f"a classifier of {classes} classes is not known")
    if classes > 2:
        return _made(of, features, weights, classes, name)
    if weighted != {0}:
        if base or not _in_every_leaf(of, weights, 1):
            raise CannotCompile("a classifier of two classes with base values, or with leaves that lack a class")
        return _made(of, features, weights, 2, name)
    if base > 1:
        raise CannotCompile(f"a binary classifier with {base} base values is not known")
    made = _made(of, features, weights, 1, name)
    if name == "LOGISTIC":
        return replace(made, transform=Transform.PAIR_LOGISTIC)
    positive = all(weight >= 0 for each in weights.values() for weight in each.values())
    return replace(made, transform=Transform.PAIR_COMPLEMENT if positive else Transform.PAIR_SIGNED)


def _made(
    of: Attributes, features: int, weights: dict[tuple[int, int], Weights], targets: int, transform: str
) -> Ensemble:
    """Return the ensemble of nodes that are listed by tree and node id, leaves among them."""
    treeids, nodeids, modes = of["nodes_treeids"], of["nodes_nodeids"], [_text(each) for each in of["nodes_modes"]]
    values = _floats(of, "nodes_values")
    missing = of.get("nodes_missing_value_tracks_true") or [0] * len(treeids)
    ids = list(zip(treeids, nodeids, strict=True))
    place: dict[tuple[int, int], int] = {}
    leaves: list[Weights] = []
    splits = 0
    for node, mode in zip(ids, modes, strict=True):
        if node in place:
            raise CannotCompile(f"node {node[1]} is twice in tree {node[0]}")
        if mode == _LEAF:
            place[node] = ~len(leaves)
            leaves.append(weights.get(node, {}))
        else:
            place[node] = splits
            splits += 1
    first: dict[int, int] = {}
    previous: int | None = None
    for tree, node in ids:
        if tree != previous and tree in first:
            raise CannotCompile(f"the nodes of tree {tree} are not consecutive")
        first.setdefault(tree, place[tree, node])
        previous = tree
    rows = zip(ids, modes, of["nodes_featureids"], values.tolist(), missing, strict=True)
    children = zip(of["nodes_truenodeids"], of["nodes_falsenodeids"], strict=True)
    made = tuple(
        Split(
            condition(mode, feature, [value], missing=bool(tracks)), _at(place, tree, passed), _at(place, tree, failed)
        )
        for ((tree, _), mode, feature, value, tracks), (passed, failed) in zip(rows, children, strict=True)
        if mode != _LEAF
    )
    aggregate = _text(of.get("aggregate_function", "SUM"))
    return _ensemble(features, tuple(first.values()), made, leaves, targets, of, aggregate, transform)


def _at(place: dict[tuple[int, int], int], tree: int, node: int) -> int:
    try:
        return place[tree, node]
    except KeyError:
        raise CannotCompile(f"tree {tree} has no node {node}") from None


def _leaves_apart(of: Attributes, features: int) -> Ensemble:
    """Return the ensemble of a TreeEnsemble, whose leaves have a list of their own."""
    modes = [_MODES[each] for each in _tensor(of, "nodes_modes").tolist()]
    members = _members(_tensor(of, "membership_values") if "membership_values" in of else np.zeros(0, np.float32))
    missing = of.get("nodes_missing_value_tracks_true") or [0] * len(modes)
    targets = _tensor(of, "leaf_weights").tolist()
    leaves = [{target: weight} for target, weight in zip(of["leaf_targetids"], targets, strict=True)]
    rows = zip(modes, of["nodes_featureids"], _tensor(of, "nodes_splits").tolist(), missing, strict=True)
    tests = [
        condition(mode, feature, next(members, []) if mode == "BRANCH_MEMBER" else [value], missing=bool(tracks))
        for mode, feature, value, tracks in rows
    ]
    passed = [~n if leaf else n for n, leaf in zip(of["nodes_truenodeids"], of["nodes_trueleafs"], strict=True)]
    failed = [~n if leaf else n for n, leaf in zip(of["nodes_falsenodeids"], of["nodes_falseleafs"], strict=True)]
    splits = tuple(Split(*each) for each in zip(tests, passed, failed, strict=True))
    roots = tuple(passed[root] if passed[root] == failed[root] else root for root in of["tree_roots"])
    aggregate, transform = _AGGREGATES[of.get("aggregate_function", 1)], _TRANSFORMS[of.get("post_transform", 0)]
    return _ensemble(features, roots, splits, leaves, int(of.get("n_targets", 1)), {}, aggregate, transform)


def _members(values: Float32s) -> Iterator[list[float]]:
    """Yield the members of each set; a NaN ends a set."""
    found: list[float] = []
    for value in values.tolist():
        if np.isnan(value):
            yield found
            found = []
        elif value not in _MEMBERS:
            raise CannotCompile(f"a set has the member {value:g}: beyond 1 to 30, ONNX Runtime cuts off fractions")
        else:
            found.append(value)
    yield found


def _ensemble(
    features: int,
    roots: Sequence[int],
    splits: Sequence[Split],
    leaves: Sequence[Weights],
    targets: int,
    of: Attributes,
    aggregate: str,
    transform: str,
) -> Ensemble:
    if aggregate not in {"SUM", "AVERAGE"}:
        raise CannotCompile(f"the aggregate {aggregate} of the trees is not known")
    if transform not in Transform.__members__:
        raise CannotCompile(f"the transform {transform} is not known")
    if targets == 1:
        transform = "NONE"
        if any(len(each) != 1 for each in leaves):
            raise CannotCompile("a leaf has no weight")
    weights = np.zeros((len(leaves), targets), dtype=np.float32)
    for row, each in enumerate(leaves):
        for target, weight in each.items():
            if not 0 <= target < targets:
                raise CannotCompile(f"a leaf has a weight for target {target} of {targets}")
            weights[row, target] = weight
    base = _floats(of, "base_values")
    if len(base) not in {0, targets}:
        raise CannotCompile(f"there are {len(base)} base values for {targets} targets")
    if not (np.isfinite(weights).all() and np.isfinite(base).all()):
        raise CannotCompile("a weight is not finite")
    return Ensemble(
        features=features,
        roots=tuple(roots),
        splits=tuple(splits),
        weights=weights,
        base=base if len(base) else np.zeros(targets, dtype=np.float32),
        divisor=float(len(roots)) if aggregate == "AVERAGE" else 1.0,
        transform=Transform[transform],
    )


def _by_leaf(of: Attributes, kind: str, weights: str) -> dict[tuple[int, int], Weights]:
    """Return the weights by tree and node."""
    found: dict[tuple[int, int], Weights] = defaultdict(dict)
    rows = zip(of[f"{kind}_treeids"], of[f"{kind}_nodeids"], of[f"{kind}_ids"], strict=True)
    for (tree, node, target), weight in zip(rows, _floats(of, weights).tolist(), strict=True):
        if target in found[tree, node]:
            raise CannotCompile(f"node {node} of tree {tree} has two weights for target {target}")
        found[tree, node][target] = weight
    return found


def _in_every_leaf(of: Attributes, weights: dict[tuple[int, int], Weights], target: int) -> bool:
    ids = zip(of["nodes_treeids"], of["nodes_nodeids"], of["nodes_modes"], strict=True)
    return all(target in weights.get((tree, node), {}) for tree, node, mode in ids if _text(mode) == _LEAF)


def _floats(of: Attributes, name: str) -> Float32s:
    """Return an attribute of floats, [] if it is not there, whether it is a list or a tensor of float32."""
    if f"{name}_as_tensor" in of:
        given: Float32s = _tensor(of, f"{name}_as_tensor")
        return given
    found: Float32s = np.array(of.get(name, ()), dtype=np.float32)
    return found


def _tensor(of: Attributes, name: str) -> Any:
    values = onnx.numpy_helper.to_array(of[name])
    if values.dtype == np.float64:
        raise CannotCompile(f"{name} has float64 numbers")
    return values


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
