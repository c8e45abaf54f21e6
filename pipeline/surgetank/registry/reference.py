"""How a version of a model is named: ``NAME:VERSION``, or in MLflow's way.

That is ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.
"""

from dataclasses import dataclass

from surgetank.errors import SettingsError

MLFLOW = "models:/"


@dataclass(frozen=True, slots=True)
class Reference:
    """A model with its version, or with an alias, which a registry resolves; the other one is empty."""

    name: str
    version: str = ""
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias else f"{self.name}:{self.version}"


def parse_reference(text: str) -> Reference:
    """Return what a text names. Pure. Raises SettingsError, with the forms, if it names nothing."""
    if text.startswith(MLFLOW):
        rest = text.removeprefix(MLFLOW)
        name, at, alias = rest.partition("@")
        if at and name and alias and "/" not in rest:
            return Reference(name, alias=alias)
        name, _, version = rest.partition("/")
    else:
        name, _, version = text.rpartition(":")
    if not name or not version or "/" in name + version or "@" in name + version:
        raise SettingsError(
            f"{text!r} names no version of a model: the forms are NAME:VERSION, {MLFLOW}NAME/VERSION and "
            f"{MLFLOW}NAME@ALIAS"
        )
    return Reference(name, version=version)
