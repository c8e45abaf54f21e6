"""Real bundles of the stateless flights pipeline for tests: two versions that differ, a pair of keys, external data."""

from pathlib import Path

import numpy as np
import onnx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from onnx import TensorProto, helper, numpy_helper

from ops.training.flights_schedule import flights
from surgetank.serving import bundle
from surgetank.serving.bundle import Bundle
from tests.support import misbehaving_models

NAME = misbehaving_models.NAME
WEIGHTS = "weights.bin"


def made(directory: Path, version: str = "1", note: str = "") -> Bundle:
    """Write a bundle of flights-late. Another ``note`` is another content of the same version."""
    first = misbehaving_models.publish(directory, version, misbehaving_models.good())
    if not note:
        return first
    changed = first.manifest.model_copy(update={"figures": {"note": note}})
    return bundle.write(directory, changed, first.model.read_bytes(), replace=True)


def key_pair(folder: Path, name: str = "signing") -> tuple[Path, Path]:
    """Write an elliptic-curve key, and return the files of the private and the public key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def linear_model(path: Path, *, width: int = len(flights.spec.names), external: bool = False) -> Path:
    """Write an ONNX file that scores a row by the sum of its columns; with ``external`` the weights are beside it."""
    weights = numpy_helper.from_array(np.ones((width, 1), dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["score"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    if external:
        onnx.save_model(model, str(path), save_as_external_data=True, location=WEIGHTS, size_threshold=0)
    else:
        path.write_bytes(model.SerializeToString())
    return path


def relocated(path: Path, location: str) -> Path:
    """Write into a model with external data another location of all its tensors."""
    model = onnx.load_model(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    return path


def with_two_outputs(path: Path) -> Path:
    """Write an ONNX file with two outputs of floats, of which either could be the score."""
    model = onnx.load_model(str(linear_model(path)))
    model.graph.node.append(helper.make_node("Neg", ["score"], ["margin"]))
    model.graph.output.append(helper.make_tensor_value_info("margin", TensorProto.FLOAT, ["rows", 1]))
    path.write_bytes(model.SerializeToString())
    return path


def with_an_unknown_operator(path: Path) -> Path:
    """Write an ONNX file with an operator that ONNX Runtime does not have."""
    model = onnx.load_model(str(linear_model(path)))
    model.graph.node[0].op_type, model.graph.node[0].domain = "TurboMatMul", "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    path.write_bytes(model.SerializeToString())
    return path


def classifier_with_external_tensors(path: Path) -> Path:
    """Write a classifier whose probabilities are maps (ZipMap), with its weights beside it.

    The probability of yes is that of the sum of a row's columns, by a sigmoid.
    """
    width = len(flights.spec.names)
    weights = np.stack([np.zeros(width), np.ones(width)], axis=1).astype(np.float32)
    of_float = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    zipped = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, of_float))
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["sums"]),
            helper.make_node("Softmax", ["sums"], ["raw"], axis=1),
            helper.make_node("ZipMap", ["raw"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
        ],
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width])],
        [helper.make_value_info("probabilities", zipped)],
        [numpy_helper.from_array(weights, "weights")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save_model(model, str(path), save_as_external_data=True, location=WEIGHTS, size_threshold=0)
    return path
