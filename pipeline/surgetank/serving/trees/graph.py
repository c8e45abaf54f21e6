"""Reads an ONNX graph that is one tree ensemble with simple steps before and after it, as converters write them.

Before the trees: Identity, Cast to float, Scaler, Imputer, arithmetic with constants, ArrayFeatureExtractor. After
them: the same without Imputer and Scaler, and Sigmoid, Softmax, and changes between [m] and [m, 1]. What does not lead
to the wanted output, as the label of a classifier, does not matter. Everything else is refused with its cause.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from surgetank.serving.model import Float32s
from surgetank.serving.trees import attributes
from surgetank.serving.trees.ensemble import CannotCompile, Ensemble, Transform
from surgetank.serving.trees.steps import Arithmetic, Columns, GraphStep, Impute, Link, Scale

_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


@dataclass(frozen=True, slots=True)
class TreeGraph:
    """The content of a graph: steps, an ensemble, steps."""

    before: tuple[GraphStep, ...]
    ensemble: Ensemble
    after: tuple[GraphStep, ...]


def read_graph(model: onnx.ModelProto, *, input_name: str, output_name: str, features: int) -> TreeGraph:
    """Return what leads from the input, float32 [m, features], to an output. Raises CannotCompile, with the cause."""
    try:
        return _Reader(model, input_name, features).read(output_name)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CannotCompile(f"the graph is not well-formed: {error!r}") from error


class _Reader:
    def __init__(self, model: onnx.ModelProto, input_name: str, features: int) -> None:
        graph = model.graph
        self._input, self._features = input_name, features
        self._makers = {output: node for node in graph.node for output in node.output}
        self._constants: dict[str, Any] = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and "value" in (of := _attributes(node)):
                self._constants[node.output[0]] = onnx.numpy_helper.to_array(of["value"])
        if [each.name for each in graph.input if each.name not in self._constants] != [input_name]:
            raise CannotCompile(f"the graph has other inputs than {input_name!r}")
        width = _width(graph, input_name)
        if width not in {None, features}:
            raise CannotCompile(f"the input has {width} columns, and there are {features} features")

    def read(self, output_name: str) -> TreeGraph:
        """Return the content of the graph on the way to an output."""
        nodes_after, tensor = self._back(output_name, stop=attributes.OPERATORS)
        trees = self._makers[tensor]
        if trees.op_type == "TreeEnsembleClassifier" and tensor != trees.output[1]:
            raise CannotCompile(f"the output {output_name!r} is a label")
        nodes_before, source = self._back(trees.input[0], stop=())
        if source != self._input:
            raise CannotCompile(f"the trees read {source!r}, which is not the input")
        width, before = self._features, []
        for node in reversed(nodes_before):
            step, width = self._step(node, width, _BEFORE)
            before += step
        ensemble = attributes.read(trees, width)
        width, after = ensemble.columns, []
        for node in reversed(nodes_after):
            step, width = self._step(node, width, _AFTER)
            after += step
        match after:
            case [Link(transform), *rest] if ensemble.transform is Transform.NONE:
                return TreeGraph(tuple(before), replace(ensemble, transform=transform), tuple(rest))
        return TreeGraph(tuple(before), ensemble, tuple(after))

    def _back(self, tensor: str, stop: tuple[str, ...]) -> tuple[list[onnx.NodeProto], str]:
        """Return the nodes from a tensor back to one that a node of ``stop`` makes, or that no node makes."""
        nodes = []
        while (node := self._makers.get(tensor)) is not None and node.op_type not in stop:
            if node.op_type not in {*_BEFORE, *_AFTER}:
                raise CannotCompile(f"an operation {node.op_type} is between the input, the trees and the output")
            nodes.append(node)
            sources = [each for each in node.input if each not in self._constants]
            if len(sources) != 1:
                raise CannotCompile(f"an operation {node.op_type} has {len(sources)} inputs that are no constants")
            (tensor,) = sources
        if stop and node is None:
            raise CannotCompile("it has no tree ensemble")
        return nodes, tensor

    def _step(self, node: onnx.NodeProto, width: int, known: dict[str, "_Read"]) -> tuple[list[GraphStep], int]:
        if node.op_type not in known:
            raise CannotCompile(f"an operation {node.op_type} is on the wrong side of the trees")
        constants = [self._constants.get(each) for each in node.input]
        step, width = known[node.op_type](_attributes(node), node.op_type, constants, width)
        return ([] if step is None else [step]), width


_Read = Callable[[dict[str, Any], str, list[Any], int], tuple[GraphStep | None, int]]


def _identity(_of: dict[str, Any], _operator: str, _constants: list[Any], width: int) -> tuple[None, int]:
    return None, width


def _cast_to_float(of: dict[str, Any], _operator: str, _constants: list[Any], width: int) -> tuple[None, int]:
    if of["to"] != onnx.TensorProto.FLOAT:
        raise CannotCompile("a Cast is to another type than float")
    return None, width


def _scaler(of: dict[str, Any], _operator: str, _constants: list[Any], width: int) -> tuple[GraphStep, int]:
    return Scale(_per_column(of["offset"], width), _per_column(of["scale"], width)), width


def _imputer(of: dict[str, Any], _operator: str, _constants: list[Any], width: int) -> tuple[GraphStep, int]:
    return Impute(_per_column(of["imputed_value_floats"], width), float(of["replaced_value_float"])), width


def _per_column(values: Any, width: int) -> Float32s:
    found = np.array(values, dtype=np.float32)
    if found.shape not in {(1,), (width,)}:
        raise CannotCompile(f"a step has {found.size} numbers for {width} columns")
    return found


def _arithmetic(_of: dict[str, Any], operator: str, constants: list[Any], width: int) -> tuple[GraphStep, int]:
    first, second = constants
    constant = second if first is None else first
    if constant.dtype != np.float32:
        raise CannotCompile(f"{operator} has a constant of {constant.dtype}")
    if constant.ndim > 2 or (constant.ndim == 2 and constant.shape[0] != 1) or constant.size not in {1, width}:
        raise CannotCompile(f"{operator} has a constant of the shape {constant.shape} for {width} columns")
    return Arithmetic(operator, np.array(constant.reshape(-1)), reversed_=first is not None), width


def _columns(_of: dict[str, Any], _operator: str, constants: list[Any], width: int) -> tuple[GraphStep, int]:
    taken: npt.NDArray[np.int64] = np.array(constants[1]).reshape(-1)
    if not len(taken) or not ((taken >= 0) & (taken < width)).all():
        raise CannotCompile(f"ArrayFeatureExtractor takes the columns {taken.tolist()} of {width}")
    return Columns(taken), len(taken)


def _logistic(_of: dict[str, Any], _operator: str, _constants: list[Any], width: int) -> tuple[GraphStep, int]:
    return Link(Transform.LOGISTIC), width


def _softmax(of: dict[str, Any], _operator: str, _constants: list[Any], width: int) -> tuple[GraphStep, int]:
    if of.get("axis", -1) not in {-1, 1}:
        raise CannotCompile("a Softmax is over the rows")
    return Link(Transform.SOFTMAX), width


def _one_column(_of: dict[str, Any], operator: str, constants: list[Any], width: int) -> tuple[None, int]:
    shape = [] if operator != "Reshape" else np.array(constants[1]).tolist()
    if width != 1 or shape not in ([], [-1], [-1, 1]):
        raise CannotCompile(f"{operator} changes the shape of {width} columns")
    return None, width


_BOTH: dict[str, _Read] = {
    "Identity": _identity,
    "Cast": _cast_to_float,
    "ArrayFeatureExtractor": _columns,
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
}
_BEFORE: dict[str, _Read] = {**_BOTH, "Scaler": _scaler, "Imputer": _imputer}
_AFTER: dict[str, _Read] = {
    **_BOTH,
    "Sigmoid": _logistic,
    "Softmax": _softmax,
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten"), _one_column),
}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


def _width(graph: onnx.GraphProto, input_name: str) -> int | None:
    """Return the declared number of columns of the input, None if it is open."""
    (tensor,) = [each for each in graph.input if each.name == input_name]
    dimensions = tensor.type.tensor_type.shape.dim
    if tensor.type.tensor_type.elem_type != onnx.TensorProto.FLOAT or len(dimensions) != 2:
        raise CannotCompile(f"the input {input_name!r} is not a float32 matrix")
    return int(dimensions[1].dim_value) if dimensions[1].HasField("dim_value") else None
