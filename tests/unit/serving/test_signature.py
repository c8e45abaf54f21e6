"""Signatures of bundles with real keys: what was signed is loaded, all else is refused."""

import shutil
from pathlib import Path

import pytest

from surgetank.errors import ModelError, SettingsError
from surgetank.serving import bundle, signature
from surgetank.serving.bundle import Bundle
from surgetank.serving.bundle_files import SIGNATURE
from tests.support.model_bundles import NAME, key_pair, made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private and a public key."""
    return key_pair(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Bundle:
    """Version 1 of flights-late, signed."""
    found = made(tmp_path)
    signature.sign(found.folder, keys[0])
    return bundle.load(tmp_path, NAME, verify_key=keys[1])


def refusal(directory: Path, key: Path) -> str:
    """Return why the bundle is not loaded with a key."""
    with pytest.raises(ModelError) as caught:
        bundle.load(directory, NAME, "1", verify_key=key)
    return str(caught.value)


def test_a_signed_bundle_is_loaded(signed: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """With its key, without one, and from a copy in another folder."""
    assert signed.signed
    assert bundle.load(tmp_path, NAME) == signed
    shutil.copytree(tmp_path / NAME, tmp_path / "copy" / NAME)
    assert bundle.load(tmp_path / "copy", NAME, verify_key=keys[1]).digest == signed.digest


def test_a_bundle_without_a_signature_is_refused_where_a_key_is_set(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    """It is loaded where none is set."""
    assert not made(tmp_path).signed
    assert "is not signed, and model.verify_key_file is set" in refusal(tmp_path, keys[1])


def test_a_bundle_of_any_folder_is_verified_too(keys: tuple[Path, Path], tmp_path: Path) -> None:
    """As `surgetank score` reads it."""
    folder = made(tmp_path).folder
    assert bundle.read(folder).version == "1"
    with pytest.raises(ModelError, match="not signed"):
        bundle.read(folder, verify_key=keys[1])


def test_the_signature_of_another_key_is_refused(signed: Bundle, tmp_path: Path) -> None:
    """The message says what to do."""
    _, other = key_pair(tmp_path, "other")
    assert "the signature does not verify" in refusal(tmp_path, other)
    assert "do not use it" in refusal(tmp_path, other)


def test_a_bundle_that_was_changed_with_its_checksums_is_refused(
    signed: Bundle, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its manifest is right, and not the one that was signed."""
    kept = (signed.folder / SIGNATURE).read_bytes()
    changed = made(tmp_path / "other", note="another")
    for name in ("manifest.json", "model.onnx"):
        shutil.copy(changed.folder / name, signed.folder / name)
    assert (signed.folder / SIGNATURE).read_bytes() == kept
    assert bundle.load(tmp_path, NAME).digest == changed.digest
    assert "the signature does not verify" in refusal(tmp_path, keys[1])


@pytest.mark.parametrize("content", [b"", b"{}", b"no json", b'{"mediaType": "x"}'])
def test_a_signature_file_that_is_none_is_refused(
    content: bytes, signed: Bundle, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """Whatever it holds."""
    (signed.folder / SIGNATURE).write_bytes(content)
    assert "the signature does not verify" in refusal(tmp_path, keys[1])


def test_a_file_that_was_not_signed_is_refused(signed: Bundle, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """A signature covers the whole folder."""
    (signed.folder / "added.bin").write_bytes(b"x")
    assert "the signature does not verify" in refusal(tmp_path, keys[1])


def test_keys_that_cannot_be_used_are_named(signed: Bundle, tmp_path: Path) -> None:
    """Private and public ones: a missing file, and one without a key."""
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for key in (tmp_path / "none.pem", empty):
        with pytest.raises(SettingsError, match=f"the private key {key} cannot be used"):
            signature.sign(signed.folder, key)
        with pytest.raises(SettingsError, match=f"the public key {key} cannot be used"):
            bundle.load(tmp_path, NAME, verify_key=key)


def test_the_package_for_signatures_is_missing(
    signed: Bundle, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the extra; nothing is loaded unverified."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'surgetank\[signing\]'"):
        bundle.load(tmp_path, NAME, verify_key=keys[1])
