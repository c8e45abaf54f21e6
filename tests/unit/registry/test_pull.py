"""Pulling a version: verified and atomic, once for all workers of a machine, and not needed for one that is there."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from surgetank.errors import ModelError, RegistryError
from surgetank.registry.deadline import within
from surgetank.registry.folder_registry import FolderRegistry
from surgetank.registry.pull import pull
from surgetank.registry.registry import ModelRegistry
from surgetank.serving import bundle, signature
from surgetank.serving.bundle import Bundle, versions_in
from tests.support.model_bundles import NAME, key_pair, made

FORK = multiprocessing.get_context("fork")


class Scenario:
    """A registry with version 1 of flights-late, and an empty local folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.local = folder / "registry", folder / "local"
        self.ours = made(folder / "made")
        self.opened = 0
        FolderRegistry(str(self.root)).publish(self.ours)

    def open(self) -> FolderRegistry:
        """Open the registry, and count that."""
        self.opened += 1
        return FolderRegistry(str(self.root))

    def pull(self, opening: Callable[[], ModelRegistry] | None = None, key: Path | None = None) -> tuple[Bundle, bool]:
        """Pull version 1."""
        return pull(opening or self.open, NAME, "1", self.local, verify_key=key, timeout=30.0)

    def left(self) -> list[str]:
        """Return all names in the local folder of the model, hidden ones too."""
        return [each.name for each in (self.local / NAME).iterdir()]


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    """A scenario of its own for each test."""
    return Scenario(tmp_path)


def test_a_version_is_pulled_once(scenario: Scenario) -> None:
    """A second time nobody is asked."""
    found, pulled = scenario.pull()
    assert (found.digest, pulled) == (scenario.ours.digest, True)
    again, pulled = scenario.pull()
    assert (again.digest, pulled, scenario.opened) == (scenario.ours.digest, False, 1)
    assert scenario.left() == ["1"]


def test_the_registry_is_away_and_the_version_is_local(scenario: Scenario) -> None:
    """It is served."""
    scenario.pull()
    (scenario.root).rename(scenario.root.with_name("away"))
    assert scenario.pull()[1] is False


def test_the_registry_is_away_and_the_version_is_nowhere(scenario: Scenario) -> None:
    """The message says both, and nothing is left."""
    scenario.root.rename(scenario.root.with_name("away"))
    with pytest.raises(RegistryError, match=r"does not exist.*Model flights-late 1 is not in .*local either"):
        scenario.pull()
    assert scenario.left() == []


def test_a_damaged_local_version_is_pulled_again(scenario: Scenario) -> None:
    """With the registry away the message says what is wrong with it."""
    found, _ = scenario.pull()
    found.model.write_bytes(b"cut")
    scenario.root.rename(scenario.root.with_name("away"))
    with pytest.raises(RegistryError, match=r"does not exist.*The local copy cannot be used: .*checksum"):
        scenario.pull()
    scenario.root.with_name("away").rename(scenario.root)
    again, pulled = scenario.pull()
    assert (again.digest, pulled, scenario.left()) == (scenario.ours.digest, True, ["1"])


def test_a_bundle_that_does_not_verify_is_not_pulled(scenario: Scenario) -> None:
    """The message names the registry; the local folder is as before."""
    file = scenario.root / NAME / "1" / scenario.ours.digest / "model.onnx"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"registry does not verify, and is not used: .*registry/flights-late/1"):
        scenario.pull()
    assert scenario.left() == []


def test_an_unsigned_bundle_is_not_pulled_where_a_key_is_set(scenario: Scenario, tmp_path: Path) -> None:
    """A signed one is; a local one with another signature is replaced by it."""
    private, public = key_pair(tmp_path / "keys")
    with pytest.raises(ModelError, match=r"does not verify, and is not used: .*is not signed"):
        scenario.pull(key=public)
    scenario.pull()
    signature.sign(scenario.ours.folder, private)
    signed = FolderRegistry(str(tmp_path / "signed"))
    signed.publish(bundle.load(tmp_path / "made", NAME))
    found, pulled = scenario.pull(lambda: signed, key=public)
    assert (pulled, found.signed) == (True, True)


def test_a_killed_pull_leaves_no_version(scenario: Scenario) -> None:
    """The next one succeeds and removes what is left."""

    class Killed(FolderRegistry):
        def fetch(self, name: str, version: str, folder: Path) -> None:
            super().fetch(name, version, folder)
            (folder / "manifest.json").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=lambda: scenario.pull(lambda: Killed(str(scenario.root))))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(scenario.left()) == 1
    assert versions_in(scenario.local, NAME) == []
    assert scenario.pull()[1] is True
    assert scenario.left() == ["1"]


def test_workers_of_a_machine_pull_a_version_together(scenario: Scenario) -> None:
    """One of them fetches it; all get it."""
    start, outcomes = threading.Barrier(4), []

    def race() -> None:
        start.wait()
        outcomes.append(scenario.pull())

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {found.digest for found, _ in outcomes} == {scenario.ours.digest}
    assert (sum(pulled for _, pulled in outcomes), scenario.opened, len(outcomes)) == (1, 1, 4)


def test_a_registry_that_hangs_is_given_up(scenario: Scenario) -> None:
    """The message names the setting; nothing is left."""
    released = threading.Event()

    class Hanging(FolderRegistry):
        def fetch(self, name: str, version: str, folder: Path) -> None:
            released.wait()

    with pytest.raises(RegistryError, match=r"has taken 0\.01 s and is given up.*model\.registry_timeout_seconds"):
        pull(lambda: Hanging(str(scenario.root)), NAME, "1", scenario.local, timeout=0.01)
    released.set()
    assert scenario.left() == []


def test_a_call_within_its_time_returns_or_raises_its_own() -> None:
    """A TimeoutError of the call is not that of the wait."""

    def failing() -> None:
        raise TimeoutError("its own")

    assert within(30.0, lambda: 7, "counting") == 7
    with pytest.raises(TimeoutError, match="its own"):
        within(30.0, failing, "failing")
