"""Opens the registry that a URL names."""

import importlib.util
from typing import TYPE_CHECKING

from surgetank.errors import SettingsError
from surgetank.features.spec import FeatureSpec
from surgetank.registry.registry import ModelRegistry, shown
from surgetank.scored_rows import ScoreKind

if TYPE_CHECKING:
    from surgetank.registry.folder_registry import FolderRegistry

MLFLOW = "mlflow:"
_NONE = "no model registry is named: set model.registry, or give --registry"


def open_folder_registry(url: str) -> "FolderRegistry":
    """Return the registry of a URL to which bundles are published. Raises SettingsError as ``open_registry``."""
    if url.startswith(MLFLOW):
        raise SettingsError(
            "bundles are published to a location of fsspec, as s3://bucket/models; MLflow's own client logs models"
        )
    if not url:
        raise SettingsError(_NONE)
    _check_installed("fsspec", "model-registry", url)
    from surgetank.registry.folder_registry import FolderRegistry

    return FolderRegistry(url)


def open_registry(
    url: str, *, spec: FeatureSpec | None = None, output: str = "", kind: ScoreKind = "number"
) -> ModelRegistry:
    """Return the registry of a URL: ``mlflow:`` and the address of a tracking server, or any location of fsspec.

    ``spec``, ``output`` and ``kind``: features, output with the score and what a score is, for models of MLflow that
    are no bundles.
    Opening asks nothing of the registry. Raises SettingsError if a package is missing, or no registry is named.
    """
    if not url:
        raise SettingsError(_NONE)
    if url.startswith(MLFLOW):
        _check_installed("mlflow", "mlflow", url)
        from surgetank.registry.mlflow_registry import MlflowRegistry  # two seconds of imports

        return MlflowRegistry(url.removeprefix(MLFLOW), spec=spec, output=output, kind=kind)
    return open_folder_registry(url)


def _check_installed(module: str, extra: str, url: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise SettingsError(
            f"the model registry {shown(url)} needs the package {module}: pip install 'surgetank[{extra}]'"
        )
