"""Models of the shapes that converters write: each works, or is refused with what to do. Real ONNX Runtime."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from surgetank.errors import ModelError
from surgetank.serving.onnx_model import OnnxModel
from tests.unit.serving import converted_models as made
from tests.unit.serving.converted_models import CLASSES, FEATURES, ROWS, converted, maps, serialized, tensor

NAMES = np.array(["late", "on time", "never"])
DEFAULT: dict[str, Any] = {"relative": 1e-5, "absolute": 1e-6}


def opened(content: bytes, **options: Any) -> OnnxModel:
    """Return a model that is checked as a worker checks it; outputs and inputs are found."""
    model = OnnxModel(content, name="m", version="1", features=FEATURES, **options)
    model.check_row_independence(**DEFAULT)
    return model


def refusal(content: bytes, **options: Any) -> str:
    """Return the message with which this model is refused."""
    with pytest.raises(ModelError) as caught:
        opened(content, **options)
    return str(caught.value)


def classes_of(model: OnnxModel, matrix: npt.NDArray[np.float32]) -> list[str]:
    """Return the labels that a model chooses."""
    return [model.labels[int(index)] for index in model.score(matrix)[:, 1]]


CLASSIFIERS = {
    "linear": LogisticRegression(),
    "trees": RandomForestClassifier(5, max_depth=3, random_state=0),
    "network": MLPClassifier([4], max_iter=5, random_state=0),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()),
}
OPTIONS: dict[str, dict[str, Any]] = {"maps": {}, "tensor": {"options": {"zipmap": False}}}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("labels", ["integers", "texts"])
def test_classifiers_of_scikit_learn_are_understood(name: str, options: dict[str, Any], labels: str) -> None:
    """By default they give a label and maps; each kind of score is what scikit-learn says, with the classes' names."""
    target = NAMES[CLASSES] if labels == "texts" else CLASSES + 3
    classifier = CLASSIFIERS[name].fit(ROWS, target)
    content, expected = converted(classifier, **options), classifier.predict_proba(ROWS)

    vectors = opened(content, kind="vector").score(ROWS)
    assert (str(vectors.dtype), vectors.shape) == ("float64", (60, 3))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-6)

    labelled = opened(content, kind="label")
    assert classes_of(labelled, ROWS) == [str(each) for each in classifier.predict(ROWS)]
    np.testing.assert_allclose(labelled.score(ROWS)[:, 0], expected.max(axis=1), rtol=1e-4)

    for at, each in enumerate(classifier.classes_):
        one = opened(content, column=str(each)).score(ROWS)
        np.testing.assert_allclose(one, expected[:, at], rtol=1e-4, atol=1e-6)

    message = refusal(content)
    assert "has 3 columns, and a score is one number: set `column` in the manifest to one of" in message
    assert ", ".join(repr(str(each)) for each in classifier.classes_) in message
    assert "Scores(kind='vector')" in message


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("columns", [False, True])
def test_a_binary_classifier_needs_no_word(double: bool, columns: bool) -> None:
    """Of two probabilities the second is the score; float64 and one input for each feature work."""
    scaled = ColumnTransformer([("numbers", StandardScaler(), [0, 1, 2])])
    classifier = make_pipeline(scaled, LogisticRegression()).fit(ROWS, (CLASSES > 0).astype(int))
    content = converted(classifier, double=double, columns=columns)
    scores = opened(content).score(ROWS)
    assert (str(scores.dtype), scores.shape) == ("float64", (60,))
    np.testing.assert_allclose(scores, classifier.predict_proba(ROWS)[:, 1], rtol=1e-4)


def test_columns_are_found_by_name_in_any_order() -> None:
    """The inputs of a model may be in another order than the features."""
    regression = make_pipeline(StandardScaler(), LinearRegression()).fit(ROWS, ROWS @ [1.0, 2.0, 3.0])
    content = converted(regression, columns=True)
    model = OnnxModel(content, name="m", version="1", features=("hour", "distance", "carrier"))
    np.testing.assert_allclose(model.score(ROWS[:, [2, 0, 1]]), ROWS @ [1.0, 2.0, 3.0], rtol=1e-4)


def test_regressors_of_scikit_learn_are_understood() -> None:
    """One target is a number; of two, one is named by its place, or both are a vector."""
    one = opened(converted(LinearRegression().fit(ROWS, ROWS[:, 0] * 2)))
    np.testing.assert_allclose(one.score(ROWS), ROWS[:, 0] * 2, rtol=1e-4, atol=1e-5)

    two = converted(LinearRegression().fit(ROWS, ROWS[:, :2] * 2))
    assert "two targets of a regressor are no score" in refusal(two)
    np.testing.assert_allclose(opened(two, column="0").score(ROWS), ROWS[:, 0] * 2, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(opened(two, kind="vector").score(ROWS), ROWS[:, :2] * 2, rtol=1e-4, atol=1e-5)
    assert "has the columns '0', '1'" in refusal(two, column="2")
    assert "no probabilities of classes" in refusal(two, kind="label")


def test_outliers_and_clusters_of_scikit_learn_are_understood() -> None:
    """Their labels are no candidates for a number; the distances to clusters are a vector."""
    forest = IsolationForest(n_estimators=5, random_state=0).fit(ROWS)
    content = converted(forest)
    np.testing.assert_allclose(opened(content).score(ROWS), forest.decision_function(ROWS), rtol=1e-3, atol=1e-5)

    clusters = KMeans(4, n_init=1, random_state=0).fit(ROWS)
    vectors = opened(converted(clusters), kind="vector").score(ROWS)
    np.testing.assert_array_equal(vectors.argmin(axis=1), clusters.predict(ROWS))


@pytest.mark.parametrize("content", [made.lightgbm_classifier(), made.xgboost_classifier()], ids=["maps", "tensor"])
def test_boosted_trees_are_understood(content: bytes) -> None:
    """An int64 label with maps or with a tensor; rows stay in the order of the trees."""
    matrix = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    expected = made.stump_probabilities(matrix)
    np.testing.assert_allclose(opened(content).score(matrix), expected[:, 1], rtol=1e-5)
    np.testing.assert_allclose(opened(content, column="0").score(matrix), expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(opened(content, kind="vector").score(matrix), expected, rtol=1e-5)
    assert classes_of(opened(content, kind="label"), matrix) == [str(each) for each in expected.argmax(axis=1)]
    named = opened(content, kind="label", classes=("fine", "fraud"))
    assert classes_of(named, matrix) == [named.labels[each] for each in expected.argmax(axis=1)]
    assert opened(content)._order is not None


def test_a_network_of_pytorch_is_understood() -> None:
    """Its probabilities have no names: numbers of columns, or those of the manifest."""
    content, expected = made.perceptron("rows", last=made.SOFTMAX), made.softmax(ROWS)
    np.testing.assert_allclose(opened(content, column="2").score(ROWS), expected[:, 2], rtol=1e-5)
    assert classes_of(opened(content, kind="label"), ROWS) == [str(each) for each in expected.argmax(axis=1)]
    named = opened(content, kind="label", classes=("a", "b", "c", "d"))
    assert classes_of(named, ROWS) == ["abcd"[each] for each in expected.argmax(axis=1)]
    assert "set `column` in the manifest to one of 0, 1, 2, 3" in refusal(content)
    assert "has 4 columns" in refusal(content, classes=("a", "b"))


def test_logits_are_no_label() -> None:
    """A label needs probabilities; what has none is a vector, or gets a softmax."""
    content = made.perceptron("rows")
    assert "end the model with a softmax" in refusal(content, kind="label")
    assert opened(content, kind="vector").score(ROWS).shape == (60, 4)
    assert "a label needs the probability of each class" in refusal(made.perceptron("rows", width=1), kind="label")


@settings(deadline=None, max_examples=40)
@given(
    batch=st.sampled_from([1, 2, 7, 32]),
    rows=st.integers(0, 80),
    kind=st.sampled_from(["number", "vector", "label"]),
)
def test_a_fixed_batch_gives_what_any_batch_gives(batch: int, rows: int, kind: Any) -> None:
    """Rows are split into batches of the exported size, and the last is filled up: the same as row by row."""
    options: dict[str, Any] = {"kind": kind, "column": "1"}
    fixed = OnnxModel(made.perceptron(batch, last=made.SOFTMAX), name="m", version="1", features=FEATURES, **options)
    free = OnnxModel(made.perceptron("n", last=made.SOFTMAX), name="m", version="1", features=FEATURES, **options)
    matrix = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    scores = fixed.score(matrix)
    assert scores.shape == free.score(matrix).shape
    one_by_one = [free.score(matrix[row : row + 1]) for row in range(rows)]
    np.testing.assert_allclose(scores, np.concatenate([free.score(matrix[:0]), *one_by_one]), rtol=1e-6)


def test_a_fixed_batch_is_checked_as_any_other() -> None:
    """A softmax over the rows of the batch is refused, which filled-up rows would change too."""
    over_rows = (helper.make_node("Softmax", ["hidden"], ["out"], axis=0),)
    assert "depends on the rest of its batch" in refusal(made.perceptron(8, last=over_rows), kind="vector")
    assert opened(made.perceptron(8), kind="vector").score(ROWS).shape == (60, 4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("rows", "without an operation that drops or folds dimensions"),
        (1, r"the model gave the shape \(\) for a batch of 1 rows"),
    ],
)
def test_an_output_that_loses_its_rows_is_refused(rows: int | str, message: str) -> None:
    """PyTorch's squeeze without a dimension gives no array for a single row."""
    with pytest.raises(ModelError, match=message):
        opened(made.perceptron(rows, width=1, last=made.SQUEEZE), output="out")


def test_several_outputs_are_listed() -> None:
    """Which of them is the score is asked for, with names, types and shapes; a name answers it."""
    content = serialized(
        [helper.make_node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3)],
        [tensor("a"), tensor("b"), tensor("c")],
    )
    message = refusal(content)
    assert "'a' tensor(float) [rows, 1]; 'b' tensor(float) [rows, 1]; 'c' tensor(float) [rows, 1]" in message
    assert "set `output` in the manifest to one of 'a', 'b', 'c'" in message
    np.testing.assert_array_equal(opened(content, output="b").score(ROWS), ROWS[:, 1])


def test_a_label_alone_is_no_score() -> None:
    """Its probabilities are missing; several labels are asked for."""
    index = helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0)
    alone = serialized([index], [tensor("label", TensorProto.INT64)])
    assert "a class alone is no score" in refusal(alone)
    assert "a class alone is no score" in refusal(alone, output="label")

    soft = helper.make_node("Softmax", ["x"], ["probabilities"], axis=1)
    other = helper.make_node("ArgMin", ["x"], ["least"], axis=1, keepdims=1)
    three = serialized(
        [index, soft, other],
        [tensor("label", TensorProto.INT64), tensor("probabilities"), tensor("least", TensorProto.INT64)],
    )
    assert "set `label` in the manifest to one of 'label', 'least'" in refusal(three, kind="label")
    model = opened(three, kind="label", label="least")
    assert classes_of(model, ROWS) == [str(each) for each in ROWS.argmin(axis=1)]
    assert "must be an output of integers or texts" in refusal(three, kind="label", label="probabilities")


def test_the_classes_of_a_label_are_asked_for_if_the_model_does_not_name_them() -> None:
    """Labels 5, 6 and 7 of three columns without names are refused until the manifest names them."""
    shift = helper.make_node("Add", ["index", "five"], ["label"])
    content = serialized(
        [
            helper.make_node("Softmax", ["x"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["x"], ["index"], axis=1, keepdims=0),
            shift,
        ],
        [tensor("label", TensorProto.INT64), tensor("probabilities")],
        tensors={"five": np.array([5], dtype=np.int64)},
    )
    assert "set `classes` in the manifest" in refusal(content, kind="label")
    model = opened(content, kind="label", classes=("5", "6", "7"))
    assert classes_of(model, ROWS) == [str(each + 5) for each in ROWS.argmax(axis=1)]


def test_inputs_of_integers_take_whole_numbers_only() -> None:
    """A value that is missing or has a fraction fails its row, and says which feature."""
    kinds = (TensorProto.INT64, TensorProto.FLOAT, TensorProto.INT32)
    content = serialized(
        [
            *(helper.make_node("Cast", [name], [f"{name} 2"], to=TensorProto.FLOAT) for name in FEATURES),
            helper.make_node("Sum", [f"{name} 2" for name in FEATURES], ["y"]),
        ],
        [tensor("y")],
        inputs=[tensor(name, kind, ["n", 1]) for name, kind in zip(FEATURES, kinds, strict=True)],
    )
    model = opened(content)
    assert model.score(np.array([[1, 0.5, 3], [2, 1.5, 4]], dtype=np.float32)).tolist() == [4.5, 7.5]
    for wrong, text in (([1.5, 0, 0], "'distance' is 1.5"), ([1, 0, np.nan], "'hour' is nan"), ([1, 0, 3e9], "'hour'")):
        failed = model.submit(np.array([[0, 0, 0], wrong], dtype=np.float32)).exception()
        assert isinstance(failed, ValueError)
        assert text in str(failed)


def test_inputs_that_do_not_fit_are_refused() -> None:
    """Text, other names, wider columns and a matrix with more dimensions, each with what to do."""

    def of(*inputs: Any) -> bytes:
        first = inputs[0].name
        return serialized([helper.make_node("Identity", [first], ["y"])], [tensor("y")], inputs=inputs)

    columns = [tensor(name, shape=["n", 1]) for name in FEATURES]
    text = serialized(
        [
            helper.make_node(
                "LabelEncoder",
                ["carrier"],
                ["y"],
                domain="ai.onnx.ml",
                keys_strings=["UA"],
                values_floats=[1.0],
            )
        ],
        [tensor("y")],
        inputs=[columns[0], tensor("carrier", TensorProto.STRING, ["n", 1]), columns[2]],
    )
    assert "input 'carrier' takes text, and features are numbers: declare the field as Category" in refusal(text)
    message = refusal(of(*columns[:2], tensor("minute", shape=["n", 1])))
    assert "one column for each feature, with its name (the features: 'distance', 'carrier', 'hour')" in message
    assert "leave `input` out of the manifest" in refusal(of(*columns), input="distance")
    assert "it takes one feature, so it must be [rows, 1]" in refusal(of(*columns[:2], tensor("hour", shape=["n", 2])))
    assert "reshape inside of the model" in refusal(of(tensor("x", shape=["n", 1, 3])))
    assert "its inputs have [2, 4] rows" in refusal(
        of(columns[0], tensor("carrier", shape=[2, 1]), tensor("hour", shape=[4, 1]))
    )


def test_a_graph_without_the_default_operators_is_understood() -> None:
    """To take out a map needs one of these, which a graph of classifiers alone does not import."""
    graph = helper.make_graph(
        [
            helper.make_node("Normalizer", ["x"], ["parts"], domain="ai.onnx.ml", norm="L1"),
            helper.make_node("ZipMap", ["parts"], ["y"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"]),
        ],
        "graph",
        [tensor("x", shape=["n", 3])],
        [maps("y", TensorProto.STRING)],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 1)], ir_version=9)
    model = opened(content.SerializeToString(), column="b")
    np.testing.assert_allclose(model.score(np.array([[1, 2, 5]], dtype=np.float32)), [0.25])


def test_maps_that_cannot_be_taken_out_are_refused() -> None:
    """Those of a ZipMap inside of a function of the model; the message says what to do."""
    zipped = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    function = helper.make_function("local", "Zipped", ["x"], ["y"], [zipped], made.OPSETS)
    graph = helper.make_graph(
        [helper.make_node("Zipped", ["x"], ["y"], domain="local")],
        "graph",
        [tensor("x", shape=["n", 3])],
        [maps("y")],
    )
    opsets = [*made.OPSETS, helper.make_opsetid("local", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=[function])
    assert "convert the classifier with zipmap off" in refusal(content.SerializeToString())


def test_a_model_newer_than_the_runtime_says_both_versions() -> None:
    """Of the opset, and of the file format."""
    node = helper.make_node("Identity", ["x"], ["y"])
    described = tensor("x", shape=["n", 3])
    graph = helper.make_graph([node], "g", [described], [tensor("y")])
    new_opset = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 99)], ir_version=9)
    message = refusal(new_opset.SerializeToString())
    assert "it has opset 99 of ai.onnx, and ONNX Runtime" in message
    assert "export it with " in message
    new_format = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=99)
    message = refusal(new_format.SerializeToString())
    assert "it has the IR version 99 of ONNX, and ONNX Runtime" in message
