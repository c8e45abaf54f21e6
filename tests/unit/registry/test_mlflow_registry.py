"""A real MLflow registry in files: aliases are resolved, versions become bundles or are refused with the way out."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.training.flights_schedule import flights
from surgetank.errors import ModelError, RegistryError
from surgetank.registry.mlflow_registry import MlflowRegistry
from surgetank.registry.pull import pull
from surgetank.serving.bundle import Bundle
from tests.support import model_bundles
from tests.support.model_bundles import NAME, linear_model, made


class Server:
    """The registry of an MLflow file store, filled through MLflow's own client."""

    def __init__(self, folder: Path) -> None:
        from mlflow.tracking import MlflowClient

        self.folder, self.uri = folder, f"file://{folder / 'mlruns'}"
        self.client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        self.client.create_registered_model(NAME)

    def register(self, artifacts: Path) -> str:
        """Register a folder of artifacts as the next version; return its number."""
        return str(self.client.create_model_version(NAME, source=str(artifacts)).version)

    def model(self, name: str, *, columns: tuple[str, ...] = (), flavour: str = "onnx", **how: Any) -> str:
        """Register an ONNX model as MLflow's flavour lays it out; return its version."""
        artifacts = self.folder / name
        linear_model(artifacts / "model.onnx", **how)
        signature = {"inputs": json.dumps([{"name": each, "type": "float"} for each in columns])} if columns else None
        described = {"flavors": {flavour: {"data": "model.onnx", "onnx_version": "1.23"}}, "signature": signature}
        (artifacts / "MLmodel").write_text(yaml.safe_dump(described))
        return self.register(artifacts)

    def pull(self, version: str, into: Path, *, output: str = "", with_spec: bool = True) -> Bundle:
        """Pull a version into a folder of bundles."""
        registry = MlflowRegistry(self.uri, spec=flights.spec if with_spec else None, output=output)
        return pull(lambda: registry, NAME, version, into, timeout=60.0)[0]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A registry of its own for each test. The store in files needs no database, and is off by default in MLflow 3."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return Server(tmp_path / "server")


def test_an_alias_names_the_version_that_is_pulled(server: Server, tmp_path: Path) -> None:
    """It is resolved once: what it names later changes nothing."""
    first, second = server.model("a"), server.model("b")
    server.client.set_registered_model_alias(NAME, "champion", first)
    registry = MlflowRegistry(server.uri, spec=flights.spec)
    assert (registry.names(), registry.versions(NAME)) == ([NAME], [first, second])
    version = registry.resolve(NAME, "champion")
    server.client.set_registered_model_alias(NAME, "champion", second)
    assert (version, registry.resolve(NAME, "champion")) == (first, second)
    assert server.pull(version, tmp_path / "local").version == first


def test_a_model_of_mlflow_becomes_the_same_bundle_on_each_machine(server: Server, tmp_path: Path) -> None:
    """With the features of the pipeline; external tensors come along."""
    version = server.model("a", columns=flights.spec.names, external=True)
    one, two = server.pull(version, tmp_path / "one"), server.pull(version, tmp_path / "two")
    assert one.digest == two.digest
    assert set(one.manifest.files) == {"model.onnx", model_bundles.WEIGHTS}
    assert one.manifest.created == MlflowRegistry(server.uri).published(NAME, version).created
    one.check(flights.spec)


def test_a_bundle_in_mlflow_is_pulled_as_it_is(server: Server, tmp_path: Path) -> None:
    """Without a pipeline, with its digest."""
    ours = made(tmp_path / "made")
    shutil.copytree(ours.folder, server.folder / "logged")
    assert server.register(server.folder / "logged") == "1"
    assert server.pull("1", tmp_path / "local", with_spec=False).digest == ours.digest


def test_models_that_do_not_fit_are_refused(server: Server, tmp_path: Path) -> None:
    """Other columns, another flavour, no model at all, no pipeline: each message says what to do."""
    columns = server.model("a", columns=("b", *flights.spec.names[1:]))
    sklearn = server.model("b", flavour="sklearn")
    (server.folder / "empty").mkdir()
    nothing, plain = server.register(server.folder / "empty"), server.model("c")
    for version, with_spec, message in (
        (columns, True, "takes the columns b, .*they must be the same, in the same order"),
        (sklearn, True, "has the flavours sklearn, and not onnx: .*surgetank models import-onnx"),
        (nothing, True, r"has neither a manifest\.json nor an MLmodel file"),
        (plain, False, "is no bundle: name the pipeline with --pipeline"),
    ):
        with pytest.raises(ModelError, match=message):
            server.pull(version, tmp_path / "local", with_spec=with_spec)
    assert list((tmp_path / "local" / NAME).iterdir()) == []


def test_a_choice_of_outputs_is_asked_for(server: Server, tmp_path: Path) -> None:
    """The list of outputs is in the message; a named one is taken."""
    artifacts = server.folder / "two"
    model_bundles.with_two_outputs(artifacts / "model.onnx")
    (artifacts / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}\n")
    version = server.register(artifacts)
    with pytest.raises(ModelError, match="Name it with --output"):
        server.pull(version, tmp_path / "local")
    assert server.pull(version, tmp_path / "local", output="margin").manifest.output == "margin"


def test_what_mlflow_does_not_have_is_named(server: Server, tmp_path: Path) -> None:
    """An alias, a version, a model."""
    version = server.model("a")
    registry = MlflowRegistry(server.uri, spec=flights.spec)
    with pytest.raises(ModelError, match=f"has no models:/{NAME}@nobody"):
        registry.resolve(NAME, "nobody")
    with pytest.raises(ModelError, match=f"has no models:/{NAME}/9"):
        registry.fetch(NAME, "9", tmp_path)
    with pytest.raises(ModelError, match="has no models:/other/1"):
        registry.published("other", "1")
    assert registry.versions("other") == []
    assert version == "1"


def test_a_tracking_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without user and password."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = MlflowRegistry("http://me:secret@127.0.0.1:1")
    with pytest.raises(RegistryError, match=r"model registry mlflow:http://127\.0\.0\.1:1: ") as caught:
        registry.resolve(NAME, "champion")
    assert "secret" not in str(caught.value)
