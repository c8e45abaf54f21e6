"""Random ONNX models for odd pipelines, with the score that each must give for a row, computed without ONNX Runtime."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper

MISSING = -0.25  # what a missing value counts as
TABLE = (0.5, 1.5, 2.5)  # shorter than the vocabulary: its last text makes the model raise

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_ROUNDING = 1e-6
_OPSETS = [helper.make_opsetid("", 18)]


class ModelFailsError(ValueError):
    """The model raises for a row."""


class ModelKind(StrEnum):
    """What a model does with its row."""

    SUM = "weighted sum, a missing value is a number"
    BARE = "weighted sum, a missing value spoils the score"
    CLASSIFIER = "probabilities of no and yes"
    LOOKUP = "an element of a table, which ends before the vocabulary does"
    OVER_ROWS = "softmax over the rows of a batch"
    TWO_TARGETS = "two columns that are no probabilities"


GOOD = (ModelKind.SUM, ModelKind.SUM, ModelKind.BARE, ModelKind.CLASSIFIER)


class ModelScore(NamedTuple):
    """The score of a row, and how much the one of the model may differ from it: features are rounded to float32."""

    value: float
    slack: float = 0.0


@dataclass(frozen=True, slots=True)
class OddModel:
    """An ONNX file, and its score for the ``used`` columns of a row; that raises ModelFailsError."""

    content: bytes
    score: Callable[[Sequence[float]], ModelScore]


def odd_model(kind: ModelKind, width: int, used: Sequence[int], category: int | None = None) -> OddModel:
    """Return a model of ``width`` columns that reads those of ``used``, weighted by powers of two.

    ``category``: the place among the used columns of the one that LOOKUP looks up.
    """
    weights = [2.0**-place for place in range(len(used))]
    nodes = [
        helper.make_node("Constant", [], ["used"], value_ints=list(used)),
        helper.make_node("Gather", ["features", "used"], ["row"], axis=1),
        helper.make_node("Constant", [], ["weights"], value_floats=weights),
        helper.make_node("Constant", [], ["missing"], value_float=MISSING),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("IsNaN", ["row"], ["unknown"]),
        helper.make_node("Where", ["unknown", "missing", "row"], ["filled"]),
        helper.make_node("Mul", ["row" if kind is ModelKind.BARE else "filled", "weights"], ["weighted"]),
        helper.make_node("Cast", ["weighted"], ["exact"], to=TensorProto.DOUBLE),
        helper.make_node("ReduceSum", ["exact", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["total"], to=TensorProto.FLOAT),
        *_last_nodes(kind, category),
    ]
    columns = 2 if kind in {ModelKind.CLASSIFIER, ModelKind.TWO_TARGETS} else None
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", columns] if columns else ["rows"])],
    )
    content: bytes = helper.make_model(graph, opset_imports=_OPSETS, ir_version=9).SerializeToString()
    return OddModel(content, lambda row: _score(kind, row, weights, category))


def draw_kind(random: Random, *, with_category: bool) -> ModelKind:
    """Draw a kind of model that must be accepted."""
    return random.choice((*GOOD, ModelKind.LOOKUP) if with_category else GOOD)


def _last_nodes(kind: ModelKind, category: int | None) -> list[NodeProto]:
    match kind:
        case ModelKind.SUM | ModelKind.BARE:
            return [helper.make_node("Identity", ["total"], ["score"])]
        case ModelKind.CLASSIFIER:
            return [
                helper.make_node("Sigmoid", ["total"], ["yes"]),
                helper.make_node("Constant", [], ["one"], value_float=1.0),
                helper.make_node("Sub", ["one", "yes"], ["no"]),
                helper.make_node("Unsqueeze", ["no", "axis"], ["left"]),
                helper.make_node("Unsqueeze", ["yes", "axis"], ["right"]),
                helper.make_node("Concat", ["left", "right"], ["score"], axis=1),
            ]
        case ModelKind.TWO_TARGETS:
            return [
                helper.make_node("Unsqueeze", ["total", "axis"], ["target"]),
                helper.make_node("Concat", ["target", "target"], ["score"], axis=1),
            ]
        case ModelKind.LOOKUP:
            return [
                helper.make_node("Constant", [], ["place"], value_int=category),
                helper.make_node("Gather", ["filled", "place"], ["picked"], axis=1),
                helper.make_node("Ceil", ["picked"], ["whole"]),  # a missing value is the first element
                helper.make_node("Cast", ["whole"], ["index"], to=TensorProto.INT64),
                helper.make_node("Constant", [], ["table"], value_floats=list(TABLE)),
                helper.make_node("Gather", ["table", "index"], ["score"], axis=0),
            ]
        case ModelKind.OVER_ROWS:
            return [helper.make_node("Softmax", ["total"], ["score"], axis=0)]


def _score(kind: ModelKind, row: Sequence[float], weights: Sequence[float], category: int | None) -> ModelScore:
    filled = [MISSING if math.isnan(value) and kind is not ModelKind.BARE else value for value in row]
    if kind is ModelKind.LOOKUP:
        index = math.ceil(filled[category or 0])
        if index >= len(TABLE):
            raise ModelFailsError
        return ModelScore(TABLE[index])
    terms = [value * weight for value, weight in zip(filled, weights, strict=True)]
    total, slack = sum(terms), _ROUNDING * max(map(abs, terms))
    if kind is ModelKind.CLASSIFIER:
        return ModelScore(total if math.isnan(total) else 0.5 * (1 + math.tanh(total / 2)), slack)
    if abs(total) > _FLOAT32_MAX:
        total = math.copysign(math.inf, total)
    return ModelScore(total, slack)
