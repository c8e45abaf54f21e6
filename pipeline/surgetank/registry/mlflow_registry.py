"""Models of an MLflow model registry, by version or alias.

A version is either a bundle that was logged as it is (its artifacts have a manifest.json), or a model of MLflow's
flavour ``onnx``, from which a bundle is made with the features of the pipeline. The same version gives the same bundle
on every machine, and so the same digest.
"""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

# MLflow reads them when it is imported; what is set already stays. Its client would ask for minutes before it gives up.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from surgetank.errors import ModelError
from surgetank.features.spec import FeatureSpec
from surgetank.registry.registry import Published, registry_answers, shown
from surgetank.scored_rows import ScoreKind
from surgetank.serving.bundle import natural
from surgetank.serving.bundle_build import Request, assemble, utc_text
from surgetank.serving.bundle_files import MANIFEST

_MISSING = "RESOURCE_DOES_NOT_EXIST"
_NO_ALIAS = "INVALID_PARAMETER_VALUE"  # what stores answer for an alias that is not there


class MlflowRegistry:
    """The registry of a tracking server, as ``http://mlflow:5000`` or ``sqlite:///mlflow.db``; empty: MLflow's default.

    ``spec``, ``output`` and ``kind``: the pipeline's features, the output with the score if there is a choice, and what
    a score is, for versions that are no bundles.
    """

    def __init__(
        self, uri: str, *, spec: FeatureSpec | None = None, output: str = "", kind: ScoreKind = "number"
    ) -> None:
        self._uri = uri or None
        self.where = f"mlflow:{shown(uri)}"
        self._spec, self._output, self._kind = spec, output, kind
        with self._answers("opening"):
            self._client = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)

    def names(self) -> list[str]:
        """Return the registered models, in order. Raises RegistryError."""
        with self._answers("listing"):
            return sorted(each.name for each in _all_pages(self._client.search_registered_models))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, in order; empty if there is no such model. Raises RegistryError."""
        with self._answers("listing"):
            quoted = name.replace("'", "''")
            found = _all_pages(functools.partial(self._client.search_model_versions, f"name='{quoted}'"))
            return sorted((str(each.version) for each in found), key=natural)

    def resolve(self, name: str, alias: str) -> str:
        """Return the version that an alias names now. Raises ModelError if there is no such alias; RegistryError."""
        with self._answers("resolving an alias"):
            try:
                return str(self._client.get_model_version_by_alias(name, alias).version)
            except MlflowException as error:
                if error.error_code in {_MISSING, _NO_ALIAS}:
                    missing = f"models:/{name}@{alias}"
                    raise ModelError(f"the registry {self.where} has no {missing}: {error.message}") from None
                raise

    def published(self, name: str, version: str) -> Published:
        """Return the creation time of a version. Raises ModelError if there is no such version; RegistryError."""
        return Published(created=utc_text(self._version(name, version).creation_timestamp / 1000))

    def fetch(self, name: str, version: str, folder: Path) -> None:
        """Write the bundle of a version into an empty folder. The caller verifies it.

        Raises ModelError if there is no such version, it has no ONNX file, or as ``assemble``; RegistryError.
        """
        with self._answers("reading"), tempfile.TemporaryDirectory(prefix="surgetank-mlflow-") as temporary:
            found = self._version(name, version)
            source = self._client.get_model_version_download_uri(name, version)
            artifacts = Path(download_artifacts(artifact_uri=source, dst_path=temporary, tracking_uri=self._uri))
            if (artifacts / MANIFEST).is_file():
                shutil.copytree(artifacts, folder, dirs_exist_ok=True)
            else:
                assemble(folder, self._request(found, artifacts))

    def _request(self, version: Any, artifacts: Path) -> Request:
        """Return what to make a bundle of, from the artifacts of a version."""
        reference = f"models:/{version.name}/{version.version}"
        if self._spec is None:
            raise ModelError(f"{reference} is no bundle: name the pipeline with --pipeline, whose features it takes")
        model, columns = read_mlmodel(artifacts, reference)
        if columns and columns != list(self._spec.names):
            raise ModelError(
                f"{reference} takes the columns {', '.join(columns)}; the pipeline has the features "
                f"{', '.join(self._spec.names)}: they must be the same, in the same order"
            )
        return Request(
            name=version.name,
            version=str(version.version),
            model=model,
            spec=self._spec,
            meaning=f"the score of {version.name}",  # a description can be edited, and a digest may not change
            created_by=f"surgetank models pull {reference}",
            created=utc_text(version.creation_timestamp / 1000),
            output=self._output,
            kind=self._kind,
        )

    def _version(self, name: str, version: str) -> Any:
        with self._answers("reading"):
            try:
                return self._client.get_model_version(name, version)
            except MlflowException as error:
                if error.error_code == _MISSING:
                    missing = f"models:/{name}/{version}"
                    raise ModelError(f"the registry {self.where} has no {missing}: {error.message}") from None
                raise

    def _answers(self, what: str) -> AbstractContextManager[None]:
        return registry_answers(self.where, what)


def _all_pages(search: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def read_mlmodel(artifacts: Path, reference: str) -> tuple[Path, Sequence[str]]:
    """Return the ONNX file of an MLflow model, and the names of its columns; none if its signature has none.

    Raises ModelError if the folder has no MLflow model, or one without the flavour ``onnx``.
    """
    try:
        described = yaml.safe_load((artifacts / "MLmodel").read_text())
    except OSError:
        raise ModelError(f"{reference} has neither a manifest.json nor an MLmodel file") from None
    flavours = described.get("flavors") or {}
    if "onnx" not in flavours:
        raise ModelError(
            f"{reference} has the flavours {', '.join(flavours) or 'none'}, and not onnx: log it with mlflow.onnx, or "
            "convert it and use `surgetank models import-onnx`"
        )
    data = artifacts / str(flavours["onnx"].get("data", "model.onnx"))
    model = data / "model.onnx" if data.is_dir() else data
    if not model.resolve().is_relative_to(artifacts.resolve()):
        raise ModelError(f"{reference}: its ONNX file {model.name!r} is outside its artifacts")
    inputs = json.loads((described.get("signature") or {}).get("inputs") or "[]")
    return model, [str(each["name"]) for each in inputs if each.get("name") and each.get("type") != "tensor"]
