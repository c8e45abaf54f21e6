"""What the compiled loops do not know is refused with its cause, and nothing is scored by a guess."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from surgetank.serving.trees.compiled_trees import CompiledTrees
from surgetank.serving.trees.ensemble import CannotCompile
from tests.support.random_trees import INPUT, OUTPUT, changed, classifier, graph, identity, nodes, regressor

FEATURES = 3


def trees(seed: int = 1, **more: Any) -> onnx.NodeProto:
    """Return a small regressor."""
    random = np.random.default_rng(seed)
    return regressor(nodes(random, trees=2, leaves=4, features=FEATURES), random, **more)


def opened(model: bytes) -> CompiledTrees:
    """Compile a model of three features."""
    return CompiledTrees(model, name="m", version="1", input=INPUT, output=OUTPUT, features=("a", "b", "c"))


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    """Return a change of one attribute of the ensemble; None removes it."""

    def change(of: Any) -> None:
        node = of.node[0]
        for each in [each for each in node.attribute if each.name == name]:
            node.attribute.remove(each)
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))

    return change


def float64(of: Any) -> None:
    """Give the thresholds in float64."""
    attribute("nodes_values", None)(of)
    values = onnx.numpy_helper.from_array(np.zeros(14, np.float64))
    of.node[0].attribute.append(helper.make_attribute("nodes_values_as_tensor", values))


def before_the_output(operator: str, **attributes: Any) -> Callable[[Any], None]:
    """Return a change that puts an operation between the trees and the output."""

    def change(of: Any) -> None:
        of.node[1].input[0] = "changed"
        of.node.insert(1, helper.make_node(operator, ["sums"], ["changed"], **attributes))

    return change


def second_input(of: Any) -> None:
    """Add an input."""
    of.input.append(helper.make_tensor_value_info("other", onnx.TensorProto.FLOAT, ["rows", 1]))


def no_trees(of: Any) -> None:
    """Make the output from the input alone."""
    of.node[1].input[0] = INPUT


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (attribute("nodes_values", [float("nan")] * 14), "compares feature . with NaN"),
        (attribute("nodes_modes", ["BRANCH_ODD"] * 14), "nodes of the mode 'BRANCH_ODD' are not known"),
        (attribute("nodes_featureids", [7] * 14), "a node tests feature 7, and the ensemble has 3 features"),
        (attribute("nodes_treeids", [0, 1] * 7), "the nodes of tree|is twice in tree"),
        (attribute("nodes_truenodeids", [0] * 14), "a cycle|has no node"),
        (attribute("nodes_falsenodeids", [99] * 14), "tree 0 has no node 99"),
        (attribute("aggregate_function", "MIN"), "the aggregate MIN of the trees is not known"),
        (attribute("post_transform", "ODD"), "the transform ODD is not known"),
        (attribute("post_transform", "PROBIT"), "the transform PROBIT is not known"),
        (attribute("base_values", [1.0, 2.0]), "2 base values for 1 targets"),
        (attribute("target_weights", [float("inf")] * 8), "a weight is not finite"),
        (attribute("target_ids", [4] * 8), "a weight for target 4 of 1"),
        (attribute("nodes_modes", None), "the graph is not well-formed"),
        (float64, "nodes_values_as_tensor has float64 numbers"),
        (before_the_output("Exp"), "an operation Exp is between"),
        (before_the_output("Softmax", axis=0), "a Softmax is over the rows"),
        (before_the_output("Cast", to=onnx.TensorProto.INT64), "a Cast is to another type"),
        (second_input, "the graph has other inputs than 'features'"),
        (no_trees, "it has no tree ensemble"),
    ],
)
def test_an_unknown_graph_is_refused_with_its_cause(change: Callable[[Any], None], cause: str) -> None:
    """The message can stand after "not compiled because"."""
    model = graph([trees(), identity()], FEATURES)
    opened(model)

    with pytest.raises(CannotCompile, match=cause):
        opened(changed(model, change))


def test_inputs_of_another_width_are_refused() -> None:
    """The features of the pipeline and the columns of the graph must agree."""
    with pytest.raises(CannotCompile, match="the input has 4 columns, and there are 3 features"):
        opened(graph([trees(), identity()], 4))


def test_the_label_of_a_classifier_is_no_score() -> None:
    """Only its probabilities are."""
    random = np.random.default_rng(2)
    node = classifier(nodes(random, trees=1, leaves=2, features=FEATURES), random, classes=2, weighted=[0])
    with pytest.raises(CannotCompile, match="the output 'score' is a label"):
        opened(graph([node, helper.make_node("Identity", ["label"], [OUTPUT])], FEATURES))


def test_a_leaf_without_a_weight_is_refused() -> None:
    """ONNX Runtime reads what is not there."""

    def one_less(of: Any) -> None:
        for each in of.node[0].attribute:
            if each.name.startswith("target_"):
                del (each.floats or each.ints)[-1]

    with pytest.raises(CannotCompile, match="a leaf has no weight"):
        opened(changed(graph([trees(), identity()], FEATURES), one_less))
