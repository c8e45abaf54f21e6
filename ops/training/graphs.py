"""ONNX graphs of models that score the same features in other ways: layers of a network, and a slow model.

Built directly, as ``surgetank.serving.scikit_trees`` builds trees: small, and the same bytes each time.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, checker, helper, numpy_helper

from ops.training.encoded_inputs import Encoding
from surgetank.serving.scikit_trees import INPUT, OUTPUT

Layer = tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]

_OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
_SIDE = 64  # of the square matrices that the slow model multiplies
_ROUNDS = 250  # multiplications per row: 131 million floating point operations


def network_bytes(encoding: Encoding, layers: Sequence[Layer], features: int) -> bytes:
    """Return a network as ONNX: from float32 [rows, features] to the probability [rows, 1].

    Each layer has weights [in, out] and biases [out]; between them are rectifiers, after the last, with out = 1, is a
    sigmoid. One layer is a logistic regression.
    """
    nodes, constants = encoding.nodes(INPUT, "encoded")
    values = "encoded"
    for number, (weights, biases) in enumerate(layers, 1):
        named = [
            numpy_helper.from_array(array.astype(np.float32), f"{kind}_{number}")
            for kind, array in (("weights", weights), ("biases", biases))
        ]
        constants += named
        nodes.append(helper.make_node("Gemm", [values, *(each.name for each in named)], [f"sum_{number}"]))
        last = number == len(layers)
        values = OUTPUT if last else f"layer_{number}"
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"sum_{number}"], [values]))
    return _content(nodes, constants, features)


def slowed(model: bytes, features: int) -> bytes:
    """Return a model from ``INPUT`` to ``OUTPUT`` [rows, 1] with the same scores, about 1.5 ms a row slower.

    The extra work is real: each row multiplies matrices that are made of its score; then 0 is added to it. No optimizer
    can tell that it is 0.
    """
    graph = onnx.load_model_from_string(model).graph
    nodes = list(graph.node)
    for node in nodes:
        node.output[:] = ["fast" if name == OUTPUT else name for name in node.output]
    number = np.arange(_SIDE * _SIDE, dtype=np.float32).reshape(_SIDE, _SIDE)
    constants = [
        *graph.initializer,
        numpy_helper.from_array(np.float32(0.2) * np.sin(number), "mixing"),
        numpy_helper.from_array(np.cos(number)[None], "start"),
        numpy_helper.from_array(np.array([-1, 1, 1], np.int64), "each_row"),
        numpy_helper.from_array(np.array(_ROUNDS, np.int64), "rounds"),
        numpy_helper.from_array(np.array(True), "always"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "sides"),
        numpy_helper.from_array(np.array([-1, 1], np.int64), "column"),
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
    ]
    nodes += [
        helper.make_node("Reshape", ["fast", "each_row"], ["scalars"]),
        helper.make_node("Mul", ["scalars", "start"], ["begin"]),
        helper.make_node("Loop", ["rounds", "always", "begin"], ["mixed"], body=_round()),
        helper.make_node("ReduceMean", ["mixed", "sides"], ["mean"], keepdims=0),
        helper.make_node("Abs", ["mean"], ["size"]),
        helper.make_node("Mul", ["size", "half"], ["below_one"]),
        helper.make_node("Floor", ["below_one"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["nothing_each"]),
        helper.make_node("Add", ["fast", "nothing_each"], [OUTPUT]),
    ]
    return _content(nodes, constants, features)


def _round() -> onnx.GraphProto:
    """Return the body of the loop: one multiplication, with values kept between -1 and 1."""
    shape = ["rows", _SIDE, _SIDE]
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "mixing"], ["product"]),
            helper.make_node("Tanh", ["product"], ["after"]),
            helper.make_node("Identity", ["going_on"], ["goes_on"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, shape),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, shape),
        ],
    )


def _content(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], features: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=9)
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
