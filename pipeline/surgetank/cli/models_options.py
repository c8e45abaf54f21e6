"""What the commands of ``surgetank models`` share: options, settings, and the way to a bundle or a registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgetank.cli.options import print_json

if TYPE_CHECKING:
    from surgetank.serving.bundle import Bundle
    from surgetank.settings.models import ModelSettings

MODELS = Path("topology") / "models"  # of a project without the setting

Version = Annotated[str, typer.Argument(metavar="NAME:VERSION", help="For example flights-late:2.")]
Directory = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Folder of bundles; default: model.directory, else topology/models."),
]
RegistryUrl = Annotated[
    str | None,
    typer.Option("--registry", metavar="URL", help="As s3://bucket/models; default: the setting model.registry."),
]
VerifyKey = Annotated[
    Path | None, typer.Option(help="Public key (PEM) of the signature; default: the setting model.verify_key_file.")
]


def model_settings(
    directory: Path | None = None, registry: str | None = None, verify_key: Path | None = None
) -> "ModelSettings":
    """Return the settings of models with the options of a command over them. Raises SettingsError."""
    from surgetank.settings import load

    given: dict[str, Any] = {
        "model.directory": directory,
        "model.registry": registry,
        "model.verify_key_file": verify_key,
    }
    return load({name: str(value) for name, value in given.items() if value is not None}).model


def folder_of(settings: "ModelSettings") -> Path:
    """Return the folder of bundles."""
    return settings.directory or MODELS


def print_bundle(bundle: "Bundle", did: str, *, as_json: bool, **more: Any) -> None:
    """Print what was done with a bundle: a line, or an object with ``more``."""
    if as_json:
        print_json(
            {
                "name": bundle.name,
                "version": bundle.version,
                "folder": str(bundle.folder),
                "digest": bundle.digest,
                "signed": bundle.signed,
                "files": bundle.manifest.files,
                **more,
            }
        )
        return
    size = sum((bundle.folder / path).stat().st_size for path in bundle.manifest.files)
    number = len(bundle.manifest.files)
    signed = "signed" if bundle.signed else "not signed"
    typer.echo(f"{did} {bundle.folder}")
    typer.echo(f"  {number} file{'s' * (number != 1)}, {size:,} bytes, digest {bundle.digest[:12]}, {signed}")
