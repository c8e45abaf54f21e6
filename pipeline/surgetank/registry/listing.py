"""The versions of models in the local folder of bundles and in a registry, side by side."""

from dataclasses import dataclass
from pathlib import Path

from surgetank.errors import ModelError
from surgetank.registry.registry import ModelRegistry, Published
from surgetank.serving.bundle import models_in, natural, parse_manifest, sha256, versions_in
from surgetank.serving.bundle_files import MANIFEST, SIGNATURE


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """One version of a model; files and signature are not verified. ``problem`` is empty if nothing is wrong."""

    model: str
    version: str
    created: str
    digest: str
    signed: bool | None
    local: bool
    registry: bool
    problem: str = ""


def list_versions(directory: Path, registry: ModelRegistry | None, name: str = "") -> list[ListedVersion]:
    """Return the versions of all models, or of one, in order. Raises RegistryError if the registry does not answer."""
    local = set(models_in(directory)) if directory.is_dir() else set()
    remote = set() if registry is None else {name} if name else set(registry.names())
    found = []
    for model in sorted({name} if name else local | remote):
        here = versions_in(directory, model) if model in local else []
        there = registry.versions(model) if registry is not None and model in remote else []
        found += [
            _listed(model, version, directory if version in here else None, registry if version in there else None)
            for version in sorted({*here, *there}, key=natural)
        ]
    return found


def _listed(model: str, version: str, directory: Path | None, registry: ModelRegistry | None) -> ListedVersion:
    problem, known, copy = "", Published(), Published()
    try:
        known = registry.published(model, version) if registry is not None else known
        copy = _local(directory / model / version) if directory is not None else copy
    except ModelError as error:
        problem = str(error)
    if known.digest and copy.digest and known.digest != copy.digest:
        problem = "the local files are not those of the registry"
    best = copy if copy.digest else known
    return ListedVersion(
        model,
        version,
        best.created,
        best.digest,
        best.signed,
        local=directory is not None,
        registry=registry is not None,
        problem=problem,
    )


def _local(folder: Path) -> Published:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"model manifest {path}: {error.strerror}") from None
    return Published(parse_manifest(content, str(path)).created, sha256(content), (folder / SIGNATURE).is_file())
