"""Files of bundles: paths that stay inside, checksums of each file, external tensors, manifests of earlier versions."""

import json
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import ModelError
from surgetank.serving import bundle
from surgetank.serving.bundle_files import checksums, file_inside, path_fault
from surgetank.serving.external_data import external_files
from tests.support.model_bundles import NAME, WEIGHTS, linear_model, made, relocated

PARTS = st.sampled_from(["a", "b.bin", ".", "..", "", "~", "c d", "\\", "variants"])
ROOT = Path(__file__).parents[3]


def refusal(folder: Path, version: str = "1") -> str:
    """Return why a version of flights-late is not loaded."""
    with pytest.raises(ModelError) as caught:
        bundle.load(folder, NAME, version)
    return str(caught.value)


@given(st.lists(PARTS, max_size=5).map("/".join))
def test_a_path_without_fault_is_inside_its_folder(path: str) -> None:
    """And in its only form; all others are refused."""
    inside = PurePosixPath("/models/m/1") / path
    if not path_fault(path):
        assert inside.is_relative_to("/models/m/1")
        assert ".." not in inside.parts
        assert inside.as_posix() == f"/models/m/1/{path}"
    elif path and "\\" not in path and path != "." and PurePosixPath(path).as_posix() == path:
        assert path.startswith("/") or ".." in path.split("/")


def test_each_file_has_a_checksum(tmp_path: Path) -> None:
    """A further file in a folder too; a changed one is named."""
    first = made(tmp_path)
    words = {"vocabulary/carriers.txt": b"AA\nUA\n"}
    second = first.manifest.model_copy(update={"version": "2"})
    written = bundle.write(tmp_path, second, first.model.read_bytes(), files=words)
    assert set(written.manifest.files) == {"model.onnx", "vocabulary/carriers.txt"}
    assert written.manifest.files == checksums(written.folder)
    (written.folder / "vocabulary" / "carriers.txt").write_bytes(b"AA\nDL\n")
    assert "carriers.txt has not the checksum of its manifest" in refusal(tmp_path, "2")
    (written.folder / "vocabulary" / "carriers.txt").unlink()
    assert "carriers.txt: No such file" in refusal(tmp_path, "2")


def test_a_bundle_is_cut_short(tmp_path: Path) -> None:
    """Each file of it, at any length: nothing is loaded."""
    made(tmp_path)
    for name in ("model.onnx", "manifest.json"):
        file = tmp_path / NAME / "1" / name
        whole = file.read_bytes()
        for length in (0, 1, len(whole) // 2, len(whole) - 2):
            file.write_bytes(whole[:length])
            assert name in refusal(tmp_path)
        file.write_bytes(whole)
    assert bundle.load(tmp_path, NAME).version == "1"


@pytest.mark.parametrize("path", ["../other.bin", "/etc/hostname", "a/../../b", "", "a//b", "a\\b", "manifest.json"])
def test_a_manifest_lists_a_file_outside_the_bundle(path: str, tmp_path: Path) -> None:
    """It is refused before the file is read."""
    made(tmp_path)
    file = tmp_path / NAME / "1" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"][path] = "0" * 64
    file.write_text(json.dumps(manifest))
    assert "files: Value error, " in refusal(tmp_path)


def test_a_file_of_a_bundle_is_a_link_out_of_it(tmp_path: Path) -> None:
    """A symbolic link could change the model without a change of the bundle."""
    found = made(tmp_path)
    elsewhere = tmp_path / "elsewhere.onnx"
    found.model.rename(elsewhere)
    found.model.symlink_to(elsewhere)
    assert "is a symbolic link out of the bundle" in refusal(tmp_path)
    with pytest.raises(ModelError, match="leaves the folder"):
        file_inside(tmp_path, "../x")


def test_manifests_of_earlier_versions_are_loaded() -> None:
    """They have no list of files: the model is the only one."""
    path = ROOT / "topology" / "models" / "flights-late" / "1"
    earlier = json.loads((path / "manifest.json").read_text())
    found = bundle.load(path.parents[1], "flights-late")
    assert found.manifest.files == {"model.onnx": earlier["sha256"]}
    assert (found.manifest.created, found.manifest.parent, found.manifest.inputs) == ("", "", [])


def test_a_manifest_with_two_checksums_of_the_model_is_refused(tmp_path: Path) -> None:
    """That of an earlier field and that of the list must be one."""
    made(tmp_path)
    file = tmp_path / NAME / "1" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["sha256"] = "0" * 64
    file.write_text(json.dumps(manifest))
    assert "the checksum of model.onnx in `files` is not `sha256`" in refusal(tmp_path)


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    """It is that of the manifest's bytes: the same for copies, another one for any difference."""
    one, two, other = made(tmp_path / "a"), made(tmp_path / "b"), made(tmp_path / "c", note="other")
    assert one.digest == two.digest == bundle.sha256((one.folder / "manifest.json").read_bytes())
    assert one.digest != other.digest
    assert one.manifest.sha256 == other.manifest.sha256


def test_external_tensors_are_files_of_the_bundle(tmp_path: Path) -> None:
    """Weights beside the model are loaded if the manifest has their checksum, and else refused."""
    model = linear_model(tmp_path / "made" / "model.onnx", external=True)
    assert external_files(model) == (WEIGHTS,)
    first = made(tmp_path)
    weights = (model.parent / WEIGHTS).read_bytes()
    content = model.read_bytes()
    listed = first.manifest.model_copy(update={"version": "2", "sha256": bundle.sha256(content)})
    assert bundle.write(tmp_path, listed, content, files={WEIGHTS: weights}).manifest.files[WEIGHTS]

    unlisted = listed.model_copy(update={"version": "3"})
    with pytest.raises(ModelError, match=r"keeps tensors in 'weights\.bin', which has no checksum"):
        bundle.write(tmp_path, unlisted, content)
    (tmp_path / NAME / "3" / WEIGHTS).write_bytes(weights)
    assert "has no checksum in the manifest" in refusal(tmp_path, "3")


@pytest.mark.parametrize("location", ["../weights.bin", "/tmp/weights.bin", "a/../../weights.bin"])
def test_external_tensors_lie_outside_the_folder_of_the_model(location: str, tmp_path: Path) -> None:
    """The message names tensor and file; ONNX Runtime is not asked."""
    model = relocated(linear_model(tmp_path / "m" / "model.onnx", external=True), location)
    with pytest.raises(ModelError) as caught:
        external_files(model)
    assert "keeps 'weights' in the file" in str(caught.value)
    assert location in str(caught.value)


def test_external_tensors_are_a_link_out_of_the_folder(tmp_path: Path) -> None:
    """A link is a path too."""
    model = linear_model(tmp_path / "m" / "model.onnx", external=True)
    (model.parent / WEIGHTS).rename(tmp_path / "away.bin")
    (model.parent / WEIGHTS).symlink_to(tmp_path / "away.bin")
    with pytest.raises(ModelError, match="is a symbolic link out of the bundle"):
        external_files(model)


def test_what_is_not_onnx_has_no_external_tensors(tmp_path: Path) -> None:
    """ONNX Runtime says what is wrong with it."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"no model, but a location")
    assert external_files(file) == ()
    assert external_files(b"") == ()
    with pytest.raises(ModelError, match="No such file"):
        external_files(tmp_path / "none.onnx")


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\\b"])
def test_names_that_are_no_folders_are_refused(name: str, tmp_path: Path) -> None:
    """A manifest cannot name a place outside the folder of bundles."""
    made(tmp_path)
    file = tmp_path / NAME / "1" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": name}))
    assert "version: " in refusal(tmp_path)
