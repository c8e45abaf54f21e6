"""Making bundles from ONNX files: what is chosen, what is refused, and that the same request gives the same bytes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ops.training.flights_schedule import flights
from surgetank.errors import ModelError
from surgetank.serving.bundle import Tensor, parse_manifest, versions_in
from surgetank.serving.bundle_build import Request, assemble, build, utc_text
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.score_output import choose_input, choose_output
from tests.support import misbehaving_models, model_bundles
from tests.support.model_bundles import WEIGHTS, linear_model

NAME = "flights-late"


def request(model: Path, **fields: Any) -> Request:
    """Return what a bundle of a model is made of."""
    made = Request(
        name=NAME,
        version="2",
        model=model,
        spec=flights.spec,
        meaning="a number",
        created_by="a test",
        created="2026-11-28T12:00:00Z",
    )
    return replace(made, **fields)


def refusal(directory: Path, wanted: Request) -> str:
    """Return why no bundle is made, and check that nothing is left of it."""
    with pytest.raises(ModelError) as caught:
        build(directory, wanted)
    left = list((directory / NAME).iterdir()) if (directory / NAME).is_dir() else []
    assert left == []
    return str(caught.value)


def test_a_bundle_says_what_it_is_made_of(tmp_path: Path) -> None:
    """Inputs and outputs are read from the model; the only ones are chosen; the features are the pipeline's."""
    words = tmp_path / "words.txt"
    words.write_text("AA\n")
    wanted = request(
        linear_model(tmp_path / "made.onnx"),
        figures={"auc": 0.7},
        parent=f"{NAME}:1",
        licence="Apache-2.0",
        files={"words.txt": words},
    )
    found = build(tmp_path / "models", wanted)
    manifest, width = found.manifest, len(flights.spec.names)
    assert (manifest.input, manifest.output) == ("features", "score")
    assert manifest.inputs == [Tensor(name="features", type="tensor(float)", shape=["rows", width])]
    assert manifest.outputs == [Tensor(name="score", type="tensor(float)", shape=["rows", 1])]
    assert list(manifest.files) == ["model.onnx", "words.txt"]
    assert (manifest.parent, manifest.licence, manifest.figures) == (f"{NAME}:1", "Apache-2.0", {"auc": 0.7})
    assert manifest.created == "2026-11-28T12:00:00Z"
    found.check(flights.spec)


def test_the_same_request_gives_the_same_digest(tmp_path: Path) -> None:
    """On each machine."""
    wanted = request(linear_model(tmp_path / "made.onnx"))
    assert build(tmp_path / "a", wanted).digest == build(tmp_path / "b", wanted).digest


def test_the_engine_of_trees_is_chosen_once_and_written_down(tmp_path: Path) -> None:
    """Its figures are those of the machine that made the bundle; what is pulled from MLflow has no such choice."""
    trees = Path("topology/models/flights-late/1/model.onnx")
    manifest = build(tmp_path / "models", request(trees)).manifest
    assert manifest.engine == "compiled-trees"
    assert set(manifest.figures["engine"]["nanoseconds_per_row"]) == {"onnxruntime", "compiled-trees"}
    (tmp_path / "made").mkdir()
    assemble(tmp_path / "made", request(trees))
    assert parse_manifest((tmp_path / "made" / "manifest.json").read_bytes(), "made").engine == "onnxruntime"


def test_a_column_or_all_of_an_output_is_the_score(tmp_path: Path) -> None:
    """As the pipeline declares; without a choice of three classes no number is the score."""
    file = tmp_path / "classes.onnx"
    file.write_bytes(misbehaving_models.three_classes())
    assert "to one of 'early', 'on time', 'late'" in refusal(tmp_path / "models", request(file))
    made = build(tmp_path / "models", request(file, column="late")).manifest
    assert (made.output, made.column) == ("output_probability", "late")
    vector = request(file, version="3", kind="vector")
    assert build(tmp_path / "models", vector).manifest.engine == "onnxruntime"


def test_external_tensors_are_copied_into_the_bundle(tmp_path: Path) -> None:
    """And loaded from there; the files beside the source are not needed any more."""
    model = linear_model(tmp_path / "made" / "net.onnx", external=True)
    found = build(tmp_path / "models", request(model))
    assert set(found.manifest.files) == {"model.onnx", WEIGHTS}
    (model.parent / WEIGHTS).unlink()
    opened = OnnxModel(
        found.model, name=NAME, version="2", input="features", output="score", features=flights.spec.names
    )
    width = len(flights.spec.names)
    assert opened.score(np.ones((2, width), dtype=np.float32)).tolist() == [width, width]


def test_maps_and_external_tensors_in_one_model(tmp_path: Path) -> None:
    """The weights come from the bundle, wherever the process runs."""
    made = build(tmp_path / "models", request(model_bundles.classifier_with_external_tensors(tmp_path / "made.onnx")))
    model = OnnxModel(made.model, name=NAME, version="2", output=made.manifest.output, features=flights.spec.names)
    matrix = np.zeros((1, len(flights.spec.names)), dtype=np.float32)
    matrix[0, 0] = 1.0
    np.testing.assert_allclose(model.score(matrix), [1 / (1 + np.exp(-1.0))], rtol=1e-6)


def test_external_tensors_outside_the_folder_are_not_taken(tmp_path: Path) -> None:
    """The path of the source is named."""
    model = linear_model(tmp_path / "made" / "net.onnx", external=True)
    (tmp_path / "secret.bin").write_bytes(b"0" * 400)
    message = refusal(tmp_path, request(model_bundles.relocated(model, "../secret.bin")))
    assert f"model {model} keeps 'weights' in the file '../secret.bin', which leaves the folder" in message


def test_a_model_needs_an_operator_that_the_runtime_lacks(tmp_path: Path) -> None:
    """The operator is named, and the file that was given, not the copy."""
    model = model_bundles.with_an_unknown_operator(tmp_path / "net.onnx")
    message = refusal(tmp_path, request(model))
    assert "TurboMatMul" in message
    assert f"model {model}: ONNX Runtime " in message
    assert "unfinished" not in message


def test_a_model_with_a_wrong_input_makes_no_bundle(tmp_path: Path) -> None:
    """It has fewer columns than the pipeline features."""
    model = linear_model(tmp_path / "net.onnx", width=3)
    assert "has 3 columns and the pipeline" in refusal(tmp_path, request(model))


def test_a_choice_of_outputs_is_asked_for_with_their_list(tmp_path: Path) -> None:
    """The named one is taken; an unknown one is refused with the list too."""
    model = model_bundles.with_two_outputs(tmp_path / "net.onnx")
    message = refusal(tmp_path, request(model))
    assert "Name it with --output" in message
    assert "\n  score   tensor(float)  [rows, 1]\n  margin  tensor(float)  [rows, 1]" in message
    assert "no output 'scores'" in refusal(tmp_path, request(model, output="scores"))
    assert build(tmp_path, request(model, output="margin")).manifest.output == "margin"


def test_the_probabilities_of_a_classifier_are_its_score(tmp_path: Path) -> None:
    """Its label is no number of floats."""
    path = linear_model(tmp_path / "net.onnx")
    model = onnx.load_model(str(path))
    model.graph.node.append(helper.make_node("Cast", ["score"], ["label"], to=TensorProto.INT64))
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, ["rows", 1]))
    path.write_bytes(model.SerializeToString())
    assert build(tmp_path, request(path)).manifest.output == "score"


def test_a_version_that_exists_is_not_made_again(tmp_path: Path) -> None:
    """Published versions are immutable."""
    wanted = request(linear_model(tmp_path / "net.onnx"))
    first = build(tmp_path, wanted)
    with pytest.raises(ModelError, match="flights-late 2 exists"):
        build(tmp_path, replace(wanted, licence="MIT"))
    assert versions_in(tmp_path, NAME) == ["2"]
    assert first.manifest.licence == ""


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "model.sig", "../x"])
def test_further_files_cannot_take_the_place_of_others(name: str, tmp_path: Path) -> None:
    """Nor lie outside the bundle."""
    words = tmp_path / "words.txt"
    words.write_text("AA\n")
    model = linear_model(tmp_path / "net.onnx")
    assert repr(name) in refusal(tmp_path, request(model, files={name: words}))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The model, and a further file."""
    assert "none.onnx: No such file" in refusal(tmp_path, request(tmp_path / "none.onnx"))
    wanted = request(linear_model(tmp_path / "net.onnx"), files={"a": tmp_path / "a.txt"})
    assert "a.txt cannot be copied into the bundle: No such file" in refusal(tmp_path, wanted)


def test_a_version_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    """Its name would be a path."""
    wanted = request(linear_model(tmp_path / "net.onnx"), version="../1")
    with pytest.raises(ModelError, match="cannot be the name of a folder"):
        build(tmp_path / "models", wanted)
    assert not (tmp_path / "models").exists()


TENSORS = st.lists(
    st.builds(Tensor, name=st.sampled_from("abcde"), type=st.sampled_from(["tensor(float)", "tensor(int64)"])),
    max_size=4,
    unique_by=lambda each: each.name,
)


@given(TENSORS, st.sampled_from(["", "a", "b"]))
def test_a_choice_is_one_of_the_tensors_or_all_are_listed(tensors: list[Tensor], asked: str) -> None:
    """What was asked for is never replaced by another one."""
    for choose in (choose_input, choose_output):
        try:
            chosen = choose(tensors, asked)
        except ModelError as error:
            assert all(f"  {each.name}  {each.type}" in str(error) for each in tensors)  # noqa: PT017
        else:
            assert chosen in {each.name for each in tensors}
            assert asked in ("", chosen)


def test_times_are_utc() -> None:
    """To the second."""
    assert utc_text(1_795_867_200.9) == "2026-11-28T12:00:00Z"
