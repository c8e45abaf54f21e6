"""What a registry of models is for those that pull from it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from surgetank.errors import RegistryError, SurgetankError


def shown(text: str) -> str:
    """Return a text without user and password in the addresses that it has, for messages and logs. Pure."""
    return re.sub(r"//[^/@\s]*@", "//", text)


class Published(NamedTuple):
    """What a registry knows of a version without its files; empty or None: it does not know."""

    created: str = ""
    digest: str = ""
    signed: bool | None = None


class ModelRegistry(Protocol):
    """A place that has versions of models. A version never changes.

    Each method raises RegistryError if the registry does not answer.
    """

    @property
    def where(self) -> str:
        """The address, for messages, without secrets."""
        ...

    def names(self) -> list[str]:
        """Return the models that have a version, in order."""
        ...

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model, in order; empty if there is no such model."""
        ...

    def resolve(self, name: str, alias: str) -> str:
        """Return the version that an alias names now. Raises ModelError if there is no such alias."""
        ...

    def published(self, name: str, version: str) -> Published:
        """Return what is known of a version. Raises ModelError if there is no such version."""
        ...

    def fetch(self, name: str, version: str, folder: Path) -> None:
        """Write the files of a bundle, manifest and signature too, into an empty folder. The caller verifies them.

        Raises ModelError if there is no such version.
        """
        ...


@contextmanager
def registry_answers(where: str, what: str) -> Iterator[None]:
    """Turn what a store raises into a RegistryError: each has its own exceptions. ``what`` is done at ``where``."""
    try:
        yield
    except SurgetankError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise RegistryError(
            f"model registry {where}: {what} failed: {reason}; check the address, the rights and the network"
        ) from error
