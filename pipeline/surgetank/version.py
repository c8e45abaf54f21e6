"""The version of the engine."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from surgetank.errors import StartupError

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def engine_version() -> str:
    """Return the version of the installed package; of the source folder if that is on the import path, as in the image.

    Raises StartupError if there is neither.
    """
    try:
        return version("surgetank")
    except PackageNotFoundError:
        try:
            found: str = tomllib.loads(_PROJECT.read_text())["project"]["version"]
        except FileNotFoundError:
            raise StartupError(
                f"this installation has no version: install the package with pip, or put {_PROJECT} there"
            ) from None
        return found
