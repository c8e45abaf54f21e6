"""Checks that an ONNX model is complete in one file: weights in a second file would not be in the bundle's checksum."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from surgetank.errors import ModelError


def parse_single_file(model: Path | bytes) -> onnx.ModelProto:
    """Return the parsed model. Raises ModelError, naming a tensor and its file, if a tensor is in another file."""
    if isinstance(model, bytes):
        proto = onnx.load_model_from_string(model)
    else:
        proto = onnx.load_model(str(model), load_external_data=False)
    for tensor in _tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            raise ModelError(
                f"{f'model {model}' if isinstance(model, Path) else 'model'} keeps {tensor.name!r} in another file, "
                f"{location!r}, which the checksum of the bundle does not cover; save the model as one file "
                "(onnx.save_model with save_as_external_data=False)"
            )
    return proto


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
