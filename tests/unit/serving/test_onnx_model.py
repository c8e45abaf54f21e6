"""surgetank.serving.onnx_model: real ONNX models, accepted or refused with an error that says why."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from surgetank.errors import ModelError
from surgetank.serving.external_data import parse_model
from surgetank.serving.onnx_model import OnnxModel
from tests.support.model_bundles import relocated

FEATURES = ("distance", "carrier", "hour")
FLOAT, BOOL, INT64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64


def model(
    nodes: list[onnx.NodeProto],
    width: int | str | None = 3,
    *,
    rows: int | str = "n",
    dtype: int = FLOAT,
    out: int = FLOAT,
    extra_input: bool = False,
) -> bytes:
    """Return a model from x [rows, width] to y by these nodes."""
    inputs = [helper.make_tensor_value_info("x", dtype, [rows, width])]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("z", FLOAT, ["n"]))
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", out, None)])
    opset = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return content


def total(keepdims: int) -> list[onnx.NodeProto]:
    """Nodes that add up each row."""
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    return [axis, helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=keepdims)]


def two_classes() -> list[onnx.NodeProto]:
    """Nodes that give [rows, 2]: the probabilities of no and yes, the sigmoid of the sum for yes."""
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    one = helper.make_node("Constant", [], ["one"], value_floats=[1.0])
    add = helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1)
    yes = helper.make_node("Sigmoid", ["sum"], ["yes"])
    no = helper.make_node("Sub", ["one", "yes"], ["no"])
    return [axis, one, add, yes, no, helper.make_node("Concat", ["no", "yes"], ["y"], axis=1)]


def two_targets() -> list[onnx.NodeProto]:
    """Nodes that give [rows, 2] as a regressor with two targets does: the first two columns."""
    columns = helper.make_node("Constant", [], ["columns"], value_ints=[0, 1])
    return [columns, helper.make_node("Gather", ["x", "columns"], ["y"], axis=1)]


def two_targets_of_sum_1() -> list[onnx.NodeProto]:
    """Nodes that give [rows, 2] of which each row has the sum 1, as probabilities have, but any values."""
    axis = helper.make_node("Constant", [], ["axis"], value_ints=[1])
    one = helper.make_node("Constant", [], ["one"], value_floats=[1.0])
    add = helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=1)
    rest = helper.make_node("Sub", ["one", "sum"], ["rest"])
    return [axis, one, add, rest, helper.make_node("Concat", ["rest", "sum"], ["y"], axis=1)]


def opened(content: bytes | Path, features: tuple[str, ...] = FEATURES, **names: str) -> OnnxModel:
    """Return a session with the usual names."""
    return OnnxModel(
        content,
        name="m",
        version="1",
        input=names.get("input", "x"),
        output=names.get("output", "y"),
        features=features,
    )


def refusal(content: bytes | Path, features: tuple[str, ...] = FEATURES, **names: str) -> str:
    """Return the message with which this model is refused."""
    with pytest.raises(ModelError) as caught:
        opened(content, features, **names)
    return str(caught.value)


@pytest.mark.parametrize("nodes", [total(0), total(1), two_classes()], ids=["[n]", "[n, 1]", "[n, 2]"])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_each_shape_of_score_is_understood(nodes: list[onnx.NodeProto], rows: int) -> None:
    """Scores are float64 [m] whether the model gives [n], [n, 1], or [n, 2] with yes as the second."""
    matrix = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    scores = opened(model(nodes)).score(matrix)
    assert scores.dtype == np.float64
    if nodes[-1].op_type == "Concat":
        np.testing.assert_allclose(scores, 1 / (1 + np.exp(-matrix.sum(axis=1))), rtol=1e-6)
    else:
        np.testing.assert_array_equal(scores, matrix.sum(axis=1))


@pytest.mark.parametrize("nodes", [two_targets(), two_targets_of_sum_1()], ids=["any", "of sum 1"])
def test_a_regressor_with_two_targets_is_the_model(nodes: list[onnx.NodeProto]) -> None:
    """Two columns are a score only as the probabilities of no and yes; zeros alone would not tell."""
    message = refusal(model(nodes))
    assert "two columns that are not the probabilities of no and yes" in message
    assert "two targets of a regressor" in message


def test_missing_values_reach_the_model() -> None:
    """NaN goes in and, here, comes out: the session hides nothing."""
    matrix = np.array([[1, 2, 3], [1, np.nan, 3]], dtype=np.float32)
    np.testing.assert_array_equal(opened(model(total(0))).score(matrix), [6, np.nan])


def test_a_path_does_as_well_as_bytes(tmp_path: Path) -> None:
    """A model can be given as a file."""
    (tmp_path / "model.onnx").write_bytes(model(total(0)))
    session = opened(tmp_path / "model.onnx")
    session.warm_up(16)
    assert session.score(np.ones((1, 3), dtype=np.float32)).tolist() == [3.0]


def test_several_threads_may_ask_at_once() -> None:
    """Each caller gets the scores of its own matrix."""
    session = opened(model(total(0)))
    matrices = [np.full((50, 3), i, dtype=np.float32) for i in range(40)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(session.score, matrices))
    assert all((answer == 3 * i).all() for i, answer in enumerate(answers))


def test_a_missing_column_is_named() -> None:
    """A model with fewer columns than features: the first feature without a column is named."""
    message = refusal(model(total(0), width=2))
    assert "2 columns and the pipeline 3 features" in message
    assert "no column for feature 'hour'" in message


def test_a_column_too_many_is_named() -> None:
    """A model with more columns than features: the first without a feature is named."""
    message = refusal(model(total(0), width=4))
    assert "4 columns and the pipeline 3 features: no feature is there for its column 3" in message
    assert "'distance', 'carrier', 'hour'" in message


def test_a_width_that_is_only_found_by_trying_is_found_at_start() -> None:
    """A model that declares no width, and cannot do this one, is refused with the features' names."""
    weights = helper.make_node("Constant", [], ["w"], value_floats=[1.0, 1.0])
    message = refusal(model([weights, helper.make_node("Mul", ["x", "w"], ["y"])], width="any"))
    assert "fails on a matrix of zeros for the features 'distance', 'carrier', 'hour'" in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            model([helper.make_node("Cast", ["x"], ["y"], to=FLOAT)], dtype=BOOL),
            "input 'x' is tensor(bool); it must be float32, float64",
        ),
        (model(total(0), extra_input=True), "takes the inputs 'x', 'z'; it must take one matrix named 'x'"),
        (model([helper.make_node("Identity", ["x"], ["y"])]), "output 'y' tensor(float) [rows, 3] has 3 columns"),
        (
            model([helper.make_node("Cast", ["x"], ["y"], to=INT64)], out=INT64),
            "output 'y' is tensor(int64); it must be a tensor of floats",
        ),
        (b"this is no model", "cannot be read as ONNX"),
    ],
    ids=["boolean input", "two inputs", "output shape", "integer output", "garbage"],
)
def test_a_model_of_another_shape_is_refused(content: bytes, part: str) -> None:
    """The message names the tensor, what it is, and what it must be."""
    assert part in refusal(content)


def test_names_that_the_model_does_not_have_are_refused() -> None:
    """The message says which names there are."""
    assert "takes the inputs 'x'; it must take one matrix named 'X'" in refusal(model(total(0)), input="X")
    assert "gives 'y' tensor(float) [rows]; it has no output 'label'" in refusal(model(total(0)), output="label")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message has the path."""
    assert str(tmp_path / "none.onnx") in refusal(tmp_path / "none.onnx")


def test_weights_of_the_model_are_in_a_second_file(tmp_path: Path) -> None:
    """They are loaded from its folder, and refused, with tensor and file, outside of it and for a model without one."""
    weights = onnx.numpy_helper.from_array(np.arange(3, dtype=np.float32), "weights")
    proto = onnx.load_model_from_string(model([*total(0)[:1], helper.make_node("Mul", ["x", "weights"], ["w"])]))
    proto.graph.initializer.append(weights)
    proto.graph.node.append(helper.make_node("ReduceSum", ["w", "axis"], ["y"], keepdims=0))
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert opened(path).score(np.ones((1, 3), dtype=np.float32)).tolist() == [3.0]
    message = refusal(path.read_bytes())
    assert "the model keeps 'weights' in another file, 'weights.bin'" in message
    moved = relocated(path, "../weights.bin")
    assert f"model {path} keeps 'weights' in the file '../weights.bin', which leaves the folder" in refusal(moved)


def test_tensors_of_inner_graphs_are_in_the_checksum_too() -> None:
    """A branch of an If with its constant in another file is found as well."""
    constant = helper.make_tensor("inner", FLOAT, [1], [1.0])
    constant.ClearField("float_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="inner.bin")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=constant)],
        "branch",
        [],
        [helper.make_tensor_value_info("out", FLOAT, [1])],
    )
    choice = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(ModelError, match=r"'inner' in another file, 'inner\.bin'"):
        parse_model(model([choice]))


def test_onnx_runtime_sends_and_writes_no_telemetry(tmp_path: Path) -> None:
    """The variable is set before ONNX Runtime is imported, unless it is set already; nothing is written then.

    What ONNX Runtime writes with telemetry on, and when, depends on the machine.
    """
    (tmp_path / "model.onnx").write_bytes(model(total(0)))
    code = """
import os, sys

class Imports:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Imports())
from surgetank.serving.onnx_without_telemetry import ort
ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
"""
    for asked, seen in ((None, "1"), ("0", "0")):
        home = tmp_path / f"home-{asked}"
        home.mkdir()
        environment = {k: v for k, v in os.environ.items() if k not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}}
        environment |= {"HOME": str(home)} | ({} if asked is None else {"ORT_DISABLE_TELEMETRY": asked})
        command = [sys.executable, "-c", code, str(tmp_path / "model.onnx")]
        ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        assert ran.stdout.split() == [seen]
        assert asked or not [path for path in home.rglob("*") if path.is_file()]


def test_a_model_raises_for_some_rows(capfd: pytest.CaptureFixture[str]) -> None:
    """The error is raised; ONNX Runtime writes no line of its own for each call, which the log would repeat per row."""
    content = model(
        [
            helper.make_node("Constant", [], ["column"], value_int=0),
            helper.make_node("Gather", ["x", "column"], ["number"], axis=1),
            helper.make_node("Cast", ["number"], ["index"], to=INT64),
            helper.make_node("Constant", [], ["table"], value_floats=[1.0, 2.0]),
            helper.make_node("Gather", ["table", "index"], ["y"], axis=0),
        ]
    )
    scorer = OnnxModel(content, name="m", version="1", input="x", output="y", features=FEATURES)

    with pytest.raises(Exception, match="out of data bounds"):
        scorer.score(np.full((1, 3), 7, dtype=np.float32))

    assert capfd.readouterr() == ("", "")
