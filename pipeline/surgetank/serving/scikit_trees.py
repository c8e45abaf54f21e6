"""Converts a trained ``HistGradientBoostingClassifier`` to a minimal ONNX graph: trees, then a sigmoid.

scikit-learn is needed by the caller only (the extra ``training`` of this package).

The graph is built directly because that is exact (thresholds are rounded so that every float32 takes the same branch
as in scikit-learn), faster than a classifier with label output, and reproducible byte by byte.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

INPUT = "features"
OUTPUT = "probability"


def onnx_bytes(classifier: "HistGradientBoostingClassifier", features: int) -> bytes:
    """Return a binary classifier as ONNX: from float32 [rows, features] to the positive probability [rows, 1].

    Raises ValueError for categorical splits: declare categories as numbers instead.
    """
    # scikit-learn exposes its trees only by this private name; training compares every score with the original.
    trees = [of_class[0].nodes for of_class in classifier._predictors]
    nodes = np.concatenate(trees)
    if nodes["is_categorical"].any():
        raise ValueError("the classifier has categorical splits, which this conversion does not support")
    tree_ids = np.repeat(np.arange(len(trees)), [len(tree) for tree in trees])
    node_ids = np.concatenate([np.arange(len(tree)) for tree in trees])
    leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool) & ~leaf
    margin = helper.make_node(
        "TreeEnsembleRegressor",
        [INPUT],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[float(classifier._baseline_prediction.item())],
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=node_ids.tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=nodes["feature_idx"].astype(np.int64).tolist(),
        nodes_values=np.where(leaf, 0, _float32_below(nodes["num_threshold"])).tolist(),
        nodes_truenodeids=np.where(leaf, 0, nodes["left"]).astype(np.int64).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, nodes["right"]).astype(np.int64).tolist(),
        nodes_missing_value_tracks_true=missing_left.astype(np.int64).tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_treeids=tree_ids[leaf].tolist(),
        target_nodeids=node_ids[leaf].tolist(),
        target_weights=nodes["value"][leaf].astype(np.float32).tolist(),
    )
    graph = helper.make_graph(
        [margin, helper.make_node("Sigmoid", ["margin"], [OUTPUT])],
        "trees",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1])],
    )
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=9)
    checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _float32_below(thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Round down to float32, so that x <= threshold has the same result for every float32 x."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
