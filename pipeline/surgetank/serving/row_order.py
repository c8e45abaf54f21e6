"""Orders the rows of a batch so that neighbours take the same branches of a tree ensemble.

A tree ensemble spends most of its time on mispredicted branches: consecutive rows differ, so the processor cannot guess
which child comes next. Rows are therefore scored in the order of a 16-bit key: the bins of the features that the trees
test most often, near their roots, with bin borders at the most frequent thresholds. The score of a row does not depend
on its neighbours, so scores are the same to the last bit.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from numba import float32, int64, types

from surgetank.compiled import compiled
from surgetank.serving.model import Float32s

Int64s = npt.NDArray[np.int64]

ROWS_MIN = 64  # fewer rows rarely share branches, so ordering them does not pay
KEY_FEATURES = 4
BITS = 4  # of the key for each feature
_CUTS = 2**BITS - 1
_LEAF = b"LEAF"

_FLOAT32S = types.Array(float32, 1, "C", readonly=True)
_MATRIX = types.Array(float32, 2, "C", readonly=True)


class RowOrder:
    """The order of rows for one model. ``features`` are columns of its input, the most important first.

    ``cuts`` are the ascending bin borders of each of these features, at most 15.
    """

    def __init__(self, features: Sequence[int], cuts: Sequence[Sequence[float]]) -> None:
        self._features = np.array(features, dtype=np.int64)
        self._ends = np.cumsum([0, *(len(each) for each in cuts)], dtype=np.int64)
        self._cuts = np.array([cut for each in cuts for cut in each], dtype=np.float32)

    def order(self, matrix: Float32s) -> Int64s:
        """Return int64 [m], a permutation of the rows of ``matrix``, float32 [m, F]."""
        # A stable sort of 16-bit integers is a radix sort in numpy.
        return np.argsort(_keys(np.ascontiguousarray(matrix), self._features, self._ends, self._cuts), kind="stable")


def row_order(model: onnx.ModelProto, input_name: str) -> RowOrder | None:
    """Return the row order for an ONNX model; None unless its input goes into exactly one tree ensemble only.

    None too if the thresholds are not plain float32 attributes.
    """
    readers = [node for node in model.graph.node if input_name in node.input]
    if len(readers) != 1 or readers[0].op_type not in {"TreeEnsembleRegressor", "TreeEnsembleClassifier"}:
        return None
    if not any(each.name == "nodes_values" for each in readers[0].attribute):
        return None
    by_feature: dict[int, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for feature, threshold, share in _tests(readers[0]):
        by_feature[feature][threshold] += share
    chosen = sorted(by_feature, key=lambda feature: -sum(by_feature[feature].values()))[:KEY_FEATURES]
    return RowOrder(chosen, [_borders(by_feature[feature]) for feature in chosen]) if chosen else None


def _tests(ensemble: onnx.NodeProto) -> Iterator[tuple[int, float, float]]:
    """Yield feature, threshold and share of rows of each inner node, where each branch gets half of the rows."""
    of: dict[str, Any] = {each.name: onnx.helper.get_attribute_value(each) for each in ensemble.attribute}
    at = {node: index for index, node in enumerate(zip(of["nodes_treeids"], of["nodes_nodeids"], strict=True))}
    children = {node for name in ("nodes_truenodeids", "nodes_falsenodeids") for node in _inner(of, name)}
    waiting = [(node, 1.0) for node in at if node not in children]
    while waiting:
        (tree, node), share = waiting.pop()
        index = at[tree, node]
        if of["nodes_modes"][index] != _LEAF:
            yield of["nodes_featureids"][index], of["nodes_values"][index], share
            waiting.append(((tree, of["nodes_truenodeids"][index]), share / 2))
            waiting.append(((tree, of["nodes_falsenodeids"][index]), share / 2))


def _inner(of: dict[str, Any], name: str) -> Iterator[tuple[int, int]]:
    for tree, node, mode in zip(of["nodes_treeids"], of[name], of["nodes_modes"], strict=True):
        if mode != _LEAF:
            yield tree, node


def _borders(weights: dict[float, float]) -> list[float]:
    """Return at most 15 of the thresholds, ascending: quantiles of their weights."""
    thresholds = sorted(weights)
    reached = np.cumsum([weights[threshold] for threshold in thresholds])
    wanted = reached[-1] * (np.arange(_CUTS) + 0.5) / _CUTS
    return sorted({thresholds[index] for index in np.searchsorted(reached, wanted).tolist()})


@compiled(
    types.Array(types.uint16, 1, "C")(
        _MATRIX, types.Array(int64, 1, "C", readonly=True), types.Array(int64, 1, "C", readonly=True), _FLOAT32S
    )
)
def _keys(matrix: Float32s, features: Int64s, ends: Int64s, cuts: Float32s) -> npt.NDArray[np.uint16]:
    """Return the key of each row. NaN is in the lowest bin."""
    keys = np.zeros(len(matrix), dtype=np.uint16)
    for row in range(len(matrix)):
        key = 0
        for at in range(len(features)):
            value, reached = matrix[row, features[at]], 0
            for border in range(ends[at], ends[at + 1]):
                reached += value > cuts[border]
            key = key << BITS | reached
        keys[row] = key
    return keys
