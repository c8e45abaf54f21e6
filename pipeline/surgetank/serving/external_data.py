"""Tensors that an ONNX model keeps in other files: these must be files of the same bundle.

ONNX calls this external data. The path of such a file is relative to the model; ONNX Runtime reads it when it loads the
model from a path. A path that leads out of the folder would not be copied with the bundle, and no checksum covers it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from surgetank.errors import ModelError
from surgetank.serving.bundle_files import file_inside, path_fault

_KEY = b"location"  # each external tensor has an entry with this key, in plain text


def parse_model(model: Path | bytes) -> onnx.ModelProto:
    """Return the parsed model, without the tensors in other files.

    Raises ModelError, naming a tensor and its file, if that file is outside the folder of the model, or if the model is
    given as bytes, which have no folder.
    """
    if isinstance(model, bytes):
        proto = onnx.load_model_from_string(model)
    else:
        proto = onnx.load_model(str(model), load_external_data=False)
    for name, location in _external(proto):
        if isinstance(model, bytes):
            raise ModelError(
                f"the model keeps {name!r} in another file, {location!r}: give its path instead of its content, or "
                "save it as one file (onnx.save_model with save_as_external_data=False)"
            )
        if fault := path_fault(location):
            raise ModelError(
                f"model {model} keeps {name!r} in the file {location!r}, which {fault}; save the model and its tensors "
                "in one folder (onnx.save_model with location=NAME)"
            )
        file_inside(model.parent, location)
    return proto


def external_files(model: Path | bytes) -> tuple[str, ...]:
    """Return the paths of the files in which a model keeps tensors, relative to its folder, in the order of first use.

    What is not ONNX has none: ONNX Runtime says what is wrong with it. Raises ModelError as ``parse_model``, and if the
    model cannot be read.
    """
    if _KEY not in _content(model):
        return ()
    try:
        proto = parse_model(model)
    except ModelError:
        raise
    except Exception:  # noqa: BLE001 - protobuf's errors have no public base
        return ()
    return tuple(dict.fromkeys(location for _, location in _external(proto)))


def serialized(proto: onnx.ModelProto, model: Path | bytes) -> bytes:
    """Return a parsed and changed ``model`` as bytes, with the tensors of its other files in it; change ``proto``."""
    if isinstance(model, Path) and any(True for _ in _external(proto)):
        onnx.load_external_data_for_model(proto, str(model.parent))
    content: bytes = proto.SerializeToString()
    return content


def _content(model: Path | bytes) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        return model.read_bytes()
    except OSError as error:
        raise ModelError(f"model file {model}: {error.strerror}") from None


def _external(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Yield name and each location of each tensor in another file: readers differ in which of several they take."""
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            locations = [entry.value for entry in tensor.external_data if entry.key == "location"]
            yield from ((tensor.name, location) for location in locations or [""])


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)
