"""Brings a version of a model from a registry into the local folder of bundles, verified and atomically."""

from collections.abc import Callable
from pathlib import Path

from surgetank.errors import ModelError, RegistryError
from surgetank.registry.deadline import within
from surgetank.registry.registry import ModelRegistry
from surgetank.serving.bundle import Bundle, load, verified
from surgetank.serving.version_folder import VersionExists, new_version_folder


def pull(
    registry: Callable[[], ModelRegistry],
    name: str,
    version: str,
    directory: Path,
    *,
    verify_key: Path | None = None,
    timeout: float,
) -> tuple[Bundle, bool]:
    """Return a bundle of the local folder, and whether it was pulled: if it is there and verifies, nobody is asked.

    A local version that does not verify is replaced. ``registry`` opens the registry, if it is needed; ``timeout`` is
    for one version, in seconds; ``verify_key`` as for ``bundle.load``. Raises RegistryError if the registry does not
    answer, ModelError if it has no such version, or the version does not verify; the local folder is unchanged then.
    """
    damage = ""
    if (directory / name / version).is_dir():
        try:
            return load(directory, name, version, verify_key=verify_key), False
        except ModelError as error:
            damage = str(error)
    try:
        with new_version_folder(directory, name, version, replace=bool(damage)) as folder:
            opened = registry()
            what = f"reading model {name} {version} from the registry {opened.where}"
            within(timeout, lambda: opened.fetch(name, version, folder), what)
            _verify(opened, folder, name, version, verify_key)
    except VersionExists:  # another worker of this machine pulled it meanwhile
        return load(directory, name, version, verify_key=verify_key), False
    except RegistryError as error:
        if damage:
            raise RegistryError(f"{error}. The local copy cannot be used: {damage}") from None
        raise RegistryError(f"{error}. Model {name} {version} is not in {directory} either") from None
    return load(directory, name, version, verify_key=verify_key), True


def _verify(registry: ModelRegistry, folder: Path, name: str, version: str, verify_key: Path | None) -> None:
    try:
        verified(folder, name, version, verify_key=verify_key)
    except ModelError as error:  # it names the copy, which is removed
        text = str(error).replace(str(folder), f"{registry.where}/{name}/{version}")
        raise ModelError(f"model {name} {version} of the registry does not verify, and is not used: {text}") from None
