"""Real ONNX models that misbehave, in real bundles that fit the stateless flights pipeline.

Each scores a row by its distance; rows of flights over 4,000 miles (to Honolulu, 707 in the year) are FAR.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from ops.training.flights_schedule import flights
from surgetank.serving import bundle

FAR = 4_000.0
NAME = flights.model
_DISTANCE = flights.spec.names.index("distance")
_OPSETS = [helper.make_opsetid("", 18)]
_FOREVER = 2**60  # iterations of a loop


def publish(directory: Path, version: str, model: bytes, *, output: str = "score") -> bundle.Bundle:
    """Write a bundle of flights-late with this model. Without a name for the ``output`` a worker finds it."""
    declaration = flights.spec.declaration()
    manifest = bundle.Manifest(
        name=NAME,
        version=version,
        meaning="nothing: it is for tests",
        features=declaration,
        fingerprint=flights.spec.fingerprint(),
        sha256=bundle.sha256(model),
        input="features",
        output=output,
        figures={},
        created_by="tests/misbehaving_models.py",
    )
    return bundle.write(directory, manifest, model)


def good() -> bytes:
    """Return a model that scores each row by its distance alone."""
    return _model([helper.make_node("Mul", ["distance", "thousandth"], ["score"])])


def subtracts_the_mean_of_the_batch() -> bytes:
    """Return a model that scores each row by how much its distance exceeds the mean of its batch."""
    return _model(
        [
            helper.make_node("ReduceMean", ["distance"], ["mean"], keepdims=0),
            helper.make_node("Sub", ["distance", "mean"], ["score"]),
        ]
    )


def raises_for_far_rows() -> bytes:
    """Return a model that raises at run time for a batch with a far row: a lookup beyond the end of its table."""
    return _model(
        [
            helper.make_node("Greater", ["distance", "far"], ["is_far"]),
            helper.make_node("Cast", ["is_far"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["looked_up"]),
            helper.make_node("Mul", ["looked_up", "distance"], ["score"]),
        ]
    )


def not_a_number_for_far_rows() -> bytes:
    """Return a model whose score is NaN for far rows: the logarithm of a negative number."""
    return _model(
        [helper.make_node("Sub", ["far", "distance"], ["left"]), helper.make_node("Log", ["left"], ["score"])]
    )


def hangs_beyond(miles: float) -> bytes:
    """Return a model that loops forever for a batch with a distance over ``miles``; else it scores by distance."""
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still_go_on"]),
            helper.make_node("Cos", ["carried"], ["carried_on"]),  # an operation that no optimiser can remove
        ],
        "step",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("still_go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_on", TensorProto.FLOAT, []),
        ],
    )
    return _model(
        [
            helper.make_node("Constant", [], ["limit"], value_float=miles),
            helper.make_node("ReduceMax", ["distance"], ["farthest"], keepdims=0),
            helper.make_node("Greater", ["farthest", "limit"], ["too_far"]),
            helper.make_node("Constant", [], ["for_ever"], value_int=_FOREVER),
            helper.make_node("Constant", [], ["once"], value_int=1),
            helper.make_node("Where", ["too_far", "for_ever", "once"], ["rounds"]),
            helper.make_node("Loop", ["rounds", "", "limit"], ["looped"], body=step),
            helper.make_node("Mul", ["distance", "thousandth"], ["scaled"]),
            helper.make_node("Add", ["scaled", "looped"], ["score"]),
        ]
    )


def three_classes() -> bytes:
    """Return a classifier as skl2onnx writes it by default: a text label, and maps of probabilities.

    Flights over 2,000 miles are late, the others on time.
    """
    classes = ["early", "on time", "late"]
    column = helper.make_node("Constant", [], ["columns"], value_ints=[_DISTANCE])
    distances = helper.make_node("Gather", ["features", "columns"], ["distance"], axis=1)
    scores = helper.make_node(
        "LinearClassifier",
        ["distance"],
        ["output_label", "raw"],
        domain="ai.onnx.ml",
        coefficients=[-0.001, 0.0, 0.001],
        intercepts=[0.0, 2.0, 0.0],
        classlabels_strings=classes,
        post_transform="SOFTMAX",
    )
    normalized = helper.make_node("Normalizer", ["raw"], ["probabilities"], domain="ai.onnx.ml", norm="L1")
    zipped = helper.make_node(
        "ZipMap", ["probabilities"], ["output_probability"], domain="ai.onnx.ml", classlabels_strings=classes
    )
    of_text = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    graph = helper.make_graph(
        [column, distances, scores, normalized, zipped],
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(flights.spec.names)])],
        [
            helper.make_tensor_value_info("output_label", TensorProto.STRING, [None]),
            helper.make_value_info("output_probability", helper.make_sequence_type_proto(of_text)),
        ],
    )
    opsets = [*_OPSETS, helper.make_opsetid("ai.onnx.ml", 1)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return content


def with_input(width: int, dtype: int = TensorProto.FLOAT) -> bytes:
    """Return a model that takes this many columns of this type, and scores by their sum."""
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    add = helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=0)
    narrow = helper.make_node("Cast", ["sum"], ["score"], to=TensorProto.FLOAT)
    return _serialized([axis, add, narrow], width, dtype)


def of_text(width: int) -> bytes:
    """Return a model that takes this many columns of text, and scores by their sum as numbers."""
    numbers = helper.make_node("Cast", ["features"], ["numbers"], to=TensorProto.FLOAT)
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    add = helper.make_node("ReduceSum", ["numbers", "axis"], ["score"], keepdims=0)
    return _serialized([numbers, axis, add], width, TensorProto.STRING)


def _model(nodes: Sequence[onnx.NodeProto]) -> bytes:
    """Return a model of these nodes, with ``distance`` [rows] and some constants as their inputs."""
    given = [
        helper.make_node("Constant", [], ["column"], value_int=_DISTANCE),
        helper.make_node("Gather", ["features", "column"], ["distance"], axis=1),
        helper.make_node("Constant", [], ["far"], value_float=FAR),
        helper.make_node("Constant", [], ["thousandth"], value_float=0.001),
        helper.make_node("Constant", [], ["table"], value_floats=[0.001]),
    ]
    return _serialized([*given, *nodes], len(flights.spec.names), TensorProto.FLOAT)


def _serialized(nodes: Sequence[onnx.NodeProto], width: int, dtype: int) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("features", dtype, ["rows", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows"])],
    )
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content
