"""Where a worker finds the bundle of its model: the local folder, else the registry; never one that does not verify."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops.training.flights_schedule import flights
from surgetank.errors import ModelError, RegistryError, SettingsError
from surgetank.records import ModelVersion
from surgetank.registry.folder_registry import FolderRegistry
from surgetank.serving.bundle import Bundle
from surgetank.settings import Settings
from surgetank.settings.models import ModelSettings
from surgetank.worker.model_bundle import find_bundle
from surgetank.worker.processing_parts import load_model
from tests.support.model_bundles import NAME, key_pair, made


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry with version 1."""
    root = tmp_path / "registry"
    FolderRegistry(str(root)).publish(made(tmp_path / "made"))
    return root


def found(folder: Path, version: str, **settings: Any) -> Bundle:
    """Find a version with some settings."""
    return find_bundle(ModelVersion(NAME, version), flights.spec, ModelSettings(**settings), folder)


def test_the_pinned_version_is_pulled_at_start(registry: Path, tmp_path: Path) -> None:
    """Into the folder of bundles, which need not exist; the model of it answers."""
    pinned, local = replace(flights, model_version="1"), tmp_path / "local"
    settings = Settings(model=ModelSettings(registry=str(registry)))
    assert load_model(pinned, settings, local).version == "1"
    assert (local / NAME / "1" / "manifest.json").is_file()
    registry.rename(tmp_path / "gone")
    assert load_model(pinned, settings, local).version == "1"


def test_the_registry_is_away_at_the_first_start(tmp_path: Path) -> None:
    """The worker does not start without its model; the message names both places."""
    with pytest.raises(RegistryError, match=r"does not exist.*is not in .*local either"):
        found(tmp_path / "local", "1", registry=str(tmp_path / "none"))


def test_a_registry_is_asked_for_a_named_version_only(registry: Path, tmp_path: Path) -> None:
    """The only local version is served without a name, as without a registry."""
    with pytest.raises(SettingsError, match=r"is asked for a named version only: set model\.version"):
        found(tmp_path / "local", "", registry=str(registry))
    assert found(tmp_path / "made", "", registry=str(registry)).version == "1"


def test_a_worker_with_a_key_serves_no_unsigned_bundle(registry: Path, tmp_path: Path) -> None:
    """Neither from its folder nor from the registry."""
    _, public = key_pair(tmp_path)
    with pytest.raises(ModelError, match="is not signed"):
        found(tmp_path / "made", "1", verify_key_file=public)
    with pytest.raises(ModelError, match=r"is not used: .*is not signed"):
        found(tmp_path / "local", "1", verify_key_file=public, registry=str(registry))


def test_a_folder_that_is_set_is_that_of_the_pulled_version(registry: Path, tmp_path: Path) -> None:
    """`model.directory` has priority over the folder beside the topology."""
    into = tmp_path / "set"
    bundle = found(tmp_path / "other", "1", registry=str(registry), directory=into)
    assert bundle.folder == into / NAME / "1"
    assert not (tmp_path / "other").exists()
