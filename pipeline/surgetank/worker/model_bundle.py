"""Finds the bundle of a version: in the local folder, else in the registry. Nothing is loaded that does not verify."""

import logging
from pathlib import Path

from surgetank.errors import ModelError, SettingsError
from surgetank.features.spec import FeatureSpec
from surgetank.records import ModelVersion
from surgetank.registry.opening import open_registry
from surgetank.registry.pull import pull
from surgetank.registry.registry import shown
from surgetank.scored_rows import ScoreKind
from surgetank.serving.bundle import Bundle, load
from surgetank.settings.models import ModelSettings

log = logging.getLogger(__name__)


def find_bundle(
    wanted: ModelVersion, spec: FeatureSpec, settings: ModelSettings, folder: Path, kind: ScoreKind = "number"
) -> Bundle:
    """Return the verified bundle of a version; an empty version is the only one in the folder.

    With ``model.registry`` a version that is not in the folder is pulled into it; one that is there is served without
    asking the registry. ``folder``: the bundles, unless ``model.directory`` is set. ``spec`` and ``kind``: the
    pipeline's features, and what its score is. Raises ModelError, RegistryError or SettingsError with what is missing.
    """
    directory, key = settings.directory or folder, settings.verify_key_file
    if not settings.registry:
        return load(directory, *wanted, verify_key=key)
    if not wanted.version:
        try:
            return load(directory, *wanted, verify_key=key)
        except ModelError as error:
            raise SettingsError(
                f"{error}. The registry {shown(settings.registry)} is asked for a named version only: set "
                "model.version, or model_version in the declaration of the pipeline"
            ) from None
    found, pulled = pull(
        lambda: open_registry(settings.registry, spec=spec, kind=kind),
        *wanted,
        directory,
        verify_key=key,
        timeout=settings.registry_timeout_seconds,
    )
    if pulled:
        source = shown(settings.registry)
        log.info("pulled model %s %s from %s into %s", found.name, found.version, source, found.folder)
    return found
