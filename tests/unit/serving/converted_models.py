"""Models as converters write them: real conversions by skl2onnx, and graphs in the form of other converters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

FEATURES = ("distance", "carrier", "hour")
OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
ROWS = np.random.default_rng(5).normal(size=(60, 3)).astype(np.float32)
CLASSES = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 0.5)  # 0, 1 and 2


def converted(model: Any, *, double: bool = False, columns: bool = False, **options: Any) -> bytes:
    """Return a fitted estimator as skl2onnx converts it.

    ``columns``: as from a table, with an input for each feature; ``double``: with inputs of float64.
    """
    kind = DoubleTensorType if double else FloatTensorType
    inputs = [(name, kind([None, 1])) for name in FEATURES] if columns else [("X", kind([None, len(FEATURES)]))]
    opsets = {"": 18, "ai.onnx.ml": 3}
    content: bytes = convert_sklearn(model, initial_types=inputs, target_opset=opsets, **options).SerializeToString()
    return content


def serialized(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *,
    rows: int | str = "rows",
    tensors: dict[str, npt.NDArray[Any]] | None = None,
    inputs: Sequence[onnx.ValueInfoProto] = (),
) -> bytes:
    """Return a graph from ``x`` [rows, 3], or from other inputs."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        list(inputs) or [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, len(FEATURES)])],
        list(outputs),
        [numpy_helper.from_array(value, name) for name, value in (tensors or {}).items()],
    )
    content: bytes = helper.make_model(graph, opset_imports=OPSETS, ir_version=9).SerializeToString()
    return content


def tensor(name: str, kind: int = TensorProto.FLOAT, shape: Sequence[int | str] | None = None) -> onnx.ValueInfoProto:
    """Return the description of an output."""
    return helper.make_tensor_value_info(name, kind, shape)


def maps(name: str, key: int = TensorProto.INT64) -> onnx.ValueInfoProto:
    """Return the description of an output that is a sequence of maps from class to probability."""
    of_key = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    return helper.make_value_info(name, helper.make_sequence_type_proto(of_key))


def _stumps(classes: dict[str, Any], **more: Any) -> onnx.NodeProto:
    """Return an ensemble of one tree of one test, distance <= 0.25, for two classes."""
    return helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["chosen", "raw"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.25, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        nodes_missing_value_tracks_true=[0, 0, 0],
        class_treeids=[0, 0],
        class_nodeids=[1, 2],
        class_ids=[0, 0],
        class_weights=[-1.0, 2.0],
        **classes,
        **more,
    )


def lightgbm_classifier() -> bytes:
    """Return what the converter of LightGBM writes for two classes: an int64 label, and maps of probabilities."""
    return serialized(
        [
            _stumps({"classlabels_int64s": [0, 1]}, post_transform="LOGISTIC"),
            helper.make_node("Cast", ["chosen"], ["label"], to=TensorProto.INT64),
            helper.make_node("ZipMap", ["raw"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
        ],
        [tensor("label", TensorProto.INT64, ["rows"]), maps("probabilities")],
    )


def xgboost_classifier() -> bytes:
    """Return what the converter of XGBoost writes for two classes: an int64 label, and a tensor of probabilities."""
    return serialized(
        [
            _stumps({"classlabels_int64s": [0, 1]}, post_transform="LOGISTIC"),
            helper.make_node("Identity", ["chosen"], ["label"]),
            helper.make_node("Identity", ["raw"], ["probabilities"]),
        ],
        [tensor("label", TensorProto.INT64, ["rows"]), tensor("probabilities", shape=["rows", 2])],
    )


def stump_probabilities(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the probabilities [rows, 2] that both ensembles give."""
    margin = np.where(matrix[:, 0] <= np.float32(0.25), -1.0, 2.0)
    yes: npt.NDArray[np.float64] = 1 / (1 + np.exp(-margin))
    return np.column_stack([1 - yes, yes])


WEIGHTS = np.random.default_rng(6).normal(size=(3, 4)).astype(np.float32)


def perceptron(rows: int | str, *, width: int = 4, last: Sequence[onnx.NodeProto] = ()) -> bytes:
    """Return a layer as the exporter of PyTorch writes it: Gemm, then ``last`` from ``hidden`` to ``out``.

    The number of rows is that of the example with which it is exported, unless it is named as dynamic.
    """
    weights, bias = WEIGHTS[:, :width], np.zeros(width, dtype=np.float32)
    return serialized(
        [
            helper.make_node("Gemm", ["x", "layer.weight", "layer.bias"], ["hidden"], transB=1),
            *(last or [helper.make_node("Identity", ["hidden"], ["out"])]),
        ],
        [tensor("out")],
        rows=rows,
        tensors={"layer.weight": np.ascontiguousarray(weights.T), "layer.bias": bias},
    )


SOFTMAX = (helper.make_node("Softmax", ["hidden"], ["out"], axis=1),)
SQUEEZE = (helper.make_node("Squeeze", ["hidden"], ["out"]),)


def softmax(matrix: npt.NDArray[np.float32], width: int = 4) -> npt.NDArray[np.float64]:
    """Return the probabilities of ``perceptron`` with a softmax."""
    hidden = matrix.astype(np.float64) @ WEIGHTS[:, :width]
    powers = np.exp(hidden - hidden.max(axis=1, keepdims=True))
    of_rows: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return of_rows
