"""A registry in a folder, in memory and behind HTTP: published as a whole or not at all, never changed, verified."""

import http.server
import multiprocessing
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from surgetank.errors import ModelError, RegistryError, SettingsError
from surgetank.registry.folder_registry import FolderRegistry
from surgetank.registry.listing import list_versions
from surgetank.registry.opening import open_folder_registry, open_registry
from surgetank.serving import bundle, signature
from surgetank.serving.bundle import Bundle
from tests.support.model_bundles import NAME, key_pair, made

FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty registry in each kind of store."""
    if request.param == "file":
        yield f"file://{tmp_path / 'registry'}"
        return
    root = f"memory://{secrets.token_hex(8)}"
    yield root
    store = MemoryFileSystem()
    if store.exists(root):
        store.rm(root, recursive=True)


def fetched(registry: FolderRegistry, folder: Path, version: str = "1") -> Bundle:
    """Fetch a version into a folder of bundles and verify it."""
    into = folder / NAME / version
    into.mkdir(parents=True)
    registry.fetch(NAME, version, into)
    return bundle.load(folder, NAME, version)


def test_what_was_published_is_fetched(url: str, tmp_path: Path) -> None:
    """All files with the same bytes: the digest is the same."""
    first = made(tmp_path / "a")
    words = {"vocabulary/carriers.txt": b"AA\n"}
    second = first.manifest.model_copy(update={"version": "10", "created": "2026-11-28T12:00:00Z"})
    ours = bundle.write(tmp_path / "a", second, first.model.read_bytes(), files=words)
    registry = FolderRegistry(url)
    assert registry.publish(ours)
    assert registry.publish(bundle.load(tmp_path / "a", NAME, "1"))
    assert registry.names() == [NAME]
    assert registry.versions(NAME) == ["1", "10"]
    theirs = fetched(FolderRegistry(url), tmp_path / "b", "10")
    assert (theirs.digest, theirs.manifest) == (ours.digest, ours.manifest)
    assert (theirs.folder / "vocabulary" / "carriers.txt").read_bytes() == b"AA\n"
    assert registry.published(NAME, "10") == ("2026-11-28T12:00:00Z", ours.digest, False)


def test_a_published_version_never_changes(url: str, tmp_path: Path) -> None:
    """Another content is refused, the same one is there already."""
    ours, other = made(tmp_path / "a"), made(tmp_path / "b", note="other")
    registry = FolderRegistry(url)
    assert registry.publish(ours) is True
    assert registry.publish(ours) is False
    with pytest.raises(ModelError, match=r"with another content .*a published version never changes"):
        registry.publish(other)
    assert fetched(registry, tmp_path / "c").digest == ours.digest


def test_one_of_several_publishers_of_a_version_wins(url: str, tmp_path: Path) -> None:
    """The others are refused; what is there is the content of the winner, as a whole."""
    bundles = [made(tmp_path / str(number), note=str(number)) for number in range(6)]
    start, outcomes = threading.Barrier(len(bundles)), dict.fromkeys((each.digest for each in bundles), "")

    def race(ours: Bundle) -> None:
        registry = FolderRegistry(url)
        start.wait()
        try:
            outcomes[ours.digest] = "published" if registry.publish(ours) else "there"
        except ModelError:
            outcomes[ours.digest] = "refused"

    threads = [threading.Thread(target=race, args=(each,)) for each in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes.values()) == ["published", *["refused"] * 5]
    assert outcomes[fetched(FolderRegistry(url), tmp_path / "pulled").digest] == "published"


def test_a_publisher_that_loses_the_race_for_the_manifest_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have uploaded their files before either has created the manifest."""
    ours, theirs = made(tmp_path / "a"), made(tmp_path / "b", note="other")
    create = FolderRegistry._create

    def late(self: FolderRegistry, path: str, content: bytes) -> None:
        monkeypatch.setattr(FolderRegistry, "_create", create)
        assert FolderRegistry(url).publish(theirs)
        create(self, path, content)

    monkeypatch.setattr(FolderRegistry, "_create", late)
    with pytest.raises(ModelError, match="never changes"):
        FolderRegistry(url).publish(ours)
    assert fetched(FolderRegistry(url), tmp_path / "c").digest == theirs.digest


@pytest.mark.parametrize("uploads", [0, 1])
def test_a_killed_publisher_leaves_no_version(uploads: int, tmp_path: Path) -> None:
    """Before the first file, and before the manifest: nobody sees it, and the next publisher succeeds."""
    ours, root = made(tmp_path / "a"), tmp_path / "registry"

    class Killed(FolderRegistry):
        done = 0

        def _upload(self, file: Path, path: str) -> None:
            if self.done == uploads:
                os.kill(os.getpid(), signal.SIGKILL)
            super()._upload(file, path)
            self.done += 1

        def _create(self, path: str, content: bytes) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=lambda: Killed(str(root)).publish(ours))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    root.mkdir(exist_ok=True)
    registry = FolderRegistry(str(root))
    assert (registry.names(), registry.versions(NAME)) == ([], [])
    with pytest.raises(ModelError, match="has no version '1'"):
        registry.fetch(NAME, "1", tmp_path)
    other = made(tmp_path / "b", note="other")
    assert registry.publish(other)
    assert fetched(registry, tmp_path / "c").digest == other.digest


def test_a_file_is_missing_or_cut_short_in_the_registry(tmp_path: Path) -> None:
    """The first is named; the second does not verify."""
    root, ours = tmp_path / "registry", made(tmp_path / "a")
    registry = FolderRegistry(str(root))
    registry.publish(ours)
    file = root / NAME / "1" / ours.digest / "model.onnx"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="has not the checksum"):
        fetched(registry, tmp_path / "b")
    file.unlink()
    with pytest.raises(ModelError, match=r"lacks its file 'model\.onnx'"):
        fetched(registry, tmp_path / "c")


def test_a_short_upload_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that keeps a part of a file only, and says nothing, is found out."""
    registry, ours = FolderRegistry(str(tmp_path / "registry")), made(tmp_path / "a")
    store = registry._fs

    def cut(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:10])

    monkeypatch.setattr(store, "put_file", cut)
    with pytest.raises(RegistryError, match=r"has 10 bytes instead of .*nothing was published"):
        registry.publish(ours)
    assert registry.versions(NAME) == []


def test_a_version_that_is_not_there_is_named_with_those_that_are(url: str, tmp_path: Path) -> None:
    """An alias too: only MLflow has them."""
    registry = FolderRegistry(url)
    registry.publish(made(tmp_path / "a"))
    with pytest.raises(ModelError, match=r"has no version '2' of 'flights-late'; there is: 1"):
        registry.fetch(NAME, "2", tmp_path)
    with pytest.raises(ModelError, match="has no version '2' of 'other'; there is: nothing"):
        registry.fetch("other", "2", tmp_path)
    with pytest.raises(ModelError, match="has no aliases"):
        registry.resolve(NAME, "champion")


def test_a_signature_is_published_too(url: str, tmp_path: Path) -> None:
    """And verified after the way back."""
    private, public = key_pair(tmp_path)
    ours = made(tmp_path / "a")
    signature.sign(ours.folder, private)
    registry = FolderRegistry(url)
    registry.publish(bundle.load(tmp_path / "a", NAME, verify_key=public))
    assert registry.published(NAME, "1").signed
    fetched(registry, tmp_path / "b")
    assert bundle.load(tmp_path / "b", NAME, verify_key=public).signed


def test_a_registry_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """A folder that is not there, and a server that refuses connections; without the password of its address."""
    ours = made(tmp_path / "a")
    missing = FolderRegistry(str(tmp_path / "none"))
    with pytest.raises(RegistryError, match="the folder does not exist, or its disk is not mounted"):
        missing.names()
    with pytest.raises(RegistryError, match="the folder does not exist, or its disk is not mounted"):
        missing.fetch(NAME, "1", tmp_path)
    away = FolderRegistry("http://me:secret@127.0.0.1:1/models")
    calls: tuple[Callable[[], object], ...] = (lambda: away.fetch(NAME, "1", tmp_path), lambda: away.publish(ours))
    for call in calls:
        with pytest.raises(RegistryError, match="check the address, the rights and the network") as caught:
            call()
        assert "registry http://127.0.0.1:1/models" in str(caught.value)


def test_an_address_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is unknown, its package or fsspec is missing, or no address is given."""
    for url, message in (
        ("nothing://x", "cannot be used: .*nothing"),
        ("s3://bucket/models", "cannot be used: .*s3fs"),
        ("", "no model registry is named: set model.registry, or give --registry"),
    ):
        with pytest.raises(SettingsError, match=message):
            open_registry(url)
    with pytest.raises(SettingsError, match="MLflow"):
        open_folder_registry("mlflow:http://127.0.0.1:1")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'surgetank\[model-registry\]'"):
        open_registry("/models")
    with pytest.raises(SettingsError, match=r"pip install 'surgetank\[mlflow\]'"):
        open_registry("mlflow:")


def test_versions_are_fetched_from_a_server_without_rights_to_write(tmp_path: Path) -> None:
    """A plain HTTP server of a published folder is a registry to pull from."""
    ours = made(tmp_path / "a")
    FolderRegistry(str(tmp_path / "registry")).publish(ours)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "registry")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            registry = FolderRegistry(f"http://127.0.0.1:{server.server_port}")
            assert fetched(registry, tmp_path / "b").digest == ours.digest
        finally:
            server.shutdown()
            thread.join()


def test_local_and_published_versions_are_listed_side_by_side(url: str, tmp_path: Path) -> None:
    """With what differs, and what cannot be read."""
    local, registry = tmp_path / "local", FolderRegistry(url)
    registry.publish(made(local, "1"))
    registry.publish(made(tmp_path / "other", "2", note="other"))
    made(local, "2")
    made(local, "3")
    (made(local, "4").folder / "manifest.json").write_text("{")
    found = {each.version: each for each in list_versions(local, registry)}
    assert {version: (each.local, each.registry) for version, each in found.items()} == {
        "1": (True, True),
        "2": (True, True),
        "3": (True, False),
        "4": (True, False),
    }
    assert [found[version].problem for version in "13"] == ["", ""]
    assert found["2"].problem == "the local files are not those of the registry"
    assert "JSON" in found["4"].problem
    assert [each.version for each in list_versions(tmp_path / "none", registry, NAME)] == ["1", "2"]
    assert list_versions(tmp_path / "none", None) == []
