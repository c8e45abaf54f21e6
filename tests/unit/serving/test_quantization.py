"""Cheaper forms of models: what can be made, what is refused, and what a form may lose."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ops.training.rollout_models import FOLDER
from surgetank.clock import SystemClock
from surgetank.errors import ModelError
from surgetank.serving import bundle
from surgetank.serving.bundle import Bundle
from surgetank.serving.cheaper_models import ORIGINAL, CheaperModel, Limits, beyond, cheaper_models, write_version
from surgetank.serving.model_comparison import BATCHES, ScoreDifference, auc, compare_scores
from surgetank.serving.quantization import KINDS, make_variant
from tests.support.flight_features import flight_features

NAME = "flights-late"
LIMITS = Limits(auc_loss=0.01, difference=0.05)


@pytest.fixture(scope="module")
def network() -> Bundle:
    """A small neural network."""
    return bundle.load(FOLDER, NAME, "network")


@pytest.fixture(scope="module")
def rows() -> npt.NDArray[np.float32]:
    """Recorded inputs."""
    return flight_features(2_000)


@pytest.fixture(scope="module")
def forms(network: Bundle, rows: npt.NDArray[np.float32]) -> dict[str, CheaperModel]:
    """All forms of the network, by kind."""
    labels = np.random.default_rng(3).random(len(rows)) < 0.3
    return {each.kind: each for each in cheaper_models(network, rows, labels, LIMITS, SystemClock())}


def test_every_form_of_a_network_is_measured(forms: dict[str, CheaperModel]) -> None:
    """With the model as it is, from which nothing differs."""
    assert list(forms) == [ORIGINAL, *KINDS]
    for form in forms.values():
        assert form.cost is not None
        assert form.cost.load_seconds > 0
        assert set(form.cost.call_seconds) == set(BATCHES)
        assert form.difference is not None
        assert form.difference.p99 <= form.difference.largest < 0.1
    largest = {kind: form.difference.largest for kind, form in forms.items() if form.difference is not None}
    assert largest[ORIGINAL] == 0
    assert largest["optimized"] < 1e-6
    assert not forms["int8"].refused


def test_static_int8_has_whole_numbers_as_weights(forms: dict[str, CheaperModel]) -> None:
    """Its scores do not depend on the batch, and differ a little."""
    model = onnx.load_model_from_string(forms["int8"].model)
    assert {each.data_type for each in model.graph.initializer} & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    assert forms["int8"].difference is not None
    assert forms["int8"].difference.largest > 0


def test_dynamic_int8_is_refused(forms: dict[str, CheaperModel]) -> None:
    """It scales by the whole batch."""
    assert "scales activations by the values of the whole batch" in forms["int8-dynamic"].refused
    assert "use int8" in forms["int8-dynamic"].refused


def test_trees_are_not_quantised(rows: npt.NDArray[np.float32]) -> None:
    """A sentence says why; the graph can be optimized."""
    trees = bundle.load(FOLDER, NAME, "boosting")
    forms = {each.kind: each for each in cheaper_models(trees, rows, None, LIMITS, SystemClock())}
    for kind in ("float16", "int8", "int8-dynamic"):
        assert forms[kind].cost is None
        assert forms[kind].refused.startswith("TreeEnsembleRegressor cannot be quantised: trees compare features")
    assert not forms["optimized"].refused


def test_a_form_is_written_as_a_version_of_its_own(
    forms: dict[str, CheaperModel], network: Bundle, tmp_path: Path, rows: npt.NDArray[np.float32]
) -> None:
    """With the features of the model, its parent and the figures; it is loaded as any other version."""
    written = write_version(tmp_path, network, forms["int8"], "network-int8", "the command", 0.0)
    assert written == bundle.load(tmp_path, NAME, "network-int8")
    assert written.manifest.parent == "flights-late:network"
    assert written.manifest.fingerprint == network.manifest.fingerprint
    assert set(written.manifest.figures) == {*network.manifest.figures, "int8 against network"}
    assert (written.manifest.engine, written.manifest.created) == ("onnxruntime", "1970-01-01T00:00:00Z")
    with pytest.raises(ModelError, match="exists"):
        write_version(tmp_path, network, forms["int8"], "network-int8", "the command", 0.0)


def test_a_form_without_recorded_inputs_is_refused(network: Bundle) -> None:
    """There is nothing to measure with."""
    with pytest.raises(ModelError, match="no recorded inputs"):
        cheaper_models(network, flight_features(0), None, LIMITS, SystemClock())


def test_a_broken_model_is_refused_with_a_sentence() -> None:
    """Whatever the tools raise."""
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["a", "b"], ["c"])], "none", [], [])
    model = onnx.helper.make_model(graph).SerializeToString()
    with pytest.raises(ModelError, match="int8: ONNX Runtime cannot make it"):
        make_variant("int8", model, input_name="a", calibration=flight_features(5))


@pytest.mark.parametrize(
    ("difference", "refused"),
    [
        (ScoreDifference(0.05, 0.01), ""),
        (ScoreDifference(0.051, 0.01), "a score differs by 0.051; --max-difference is 0.05"),
        (ScoreDifference(0.01, 0.01, 0.7, 0.01), ""),
        (ScoreDifference(0.01, 0.01, 0.7, 0.011), "the AUC is lower by 0.011; --max-auc-loss is 0.01"),
        (ScoreDifference(0.01, 0.01, 0.9, -0.2), ""),
        (ScoreDifference(float("inf"), 0.0), "a score differs by inf; --max-difference is 0.05"),
    ],
)
def test_a_form_beyond_a_limit_is_refused(difference: ScoreDifference, refused: str) -> None:
    """At the limit it is not."""
    assert beyond(difference, LIMITS) == refused


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2))
def test_the_auc_is_that_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    """Also with equal scores; without both labels there is none."""
    labels = np.array([label for label, _ in pairs])
    scores = np.array([float(score) for _, score in pairs])
    if labels.all() or not labels.any():
        with pytest.raises(ModelError, match="all labels are the same"):
            auc(labels, scores)
    else:
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_missing_scores_differ_from_numbers_only() -> None:
    """By an infinite amount."""
    nan = float("nan")
    assert compare_scores(np.array([1.0, nan]), np.array([1.25, nan]), None) == ScoreDifference(0.25, 0.25)
    assert compare_scores(np.array([1.0, 2.0]), np.array([1.0, nan]), None).largest == float("inf")
