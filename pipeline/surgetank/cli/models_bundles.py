"""``surgetank models build`` and ``import-onnx``: make a bundle from an ONNX file and the features of a pipeline."""

from pathlib import Path
from typing import Annotated, Any

import typer

from surgetank.cli.models_options import model_settings, print_bundle
from surgetank.cli.options import Json, Name

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="The ONNX file; its external tensors are copied too.")]
NewVersion = Annotated[str, typer.Option("--version", help="The new version, as 2 or 2026-11-28.")]
ModelName = Annotated[str | None, typer.Option("--name", help="Default: the model that the pipeline declares.")]
Meaning = Annotated[str | None, typer.Option(help="What a score says, in a sentence; default: that of the parent.")]
Input = Annotated[str, typer.Option("--input", help="The input for the features, if there are several.")]
Output = Annotated[str, typer.Option("--output", help="The output with the score, if there are several.")]
Column = Annotated[str, typer.Option(help="The column of the output that is the score: a class, or a number from 0.")]
Figures = Annotated[
    Path | None, typer.Option(dir_okay=False, help="JSON file with an object: how good it is, on which data.")
]
Parent = Annotated[str, typer.Option(help="The version that it replaces or was made from.")]
Licence = Annotated[str, typer.Option(help="SPDX expression, as Apache-2.0.")]
Files = Annotated[
    list[Path] | None, typer.Option("--file", dir_okay=False, help="A further file, as a vocabulary; repeatable.")
]
SignKey = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Private key (PEM) to sign with; needs surgetank[signing].")
]
Directory = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Folder of bundles; default: model.directory, else models/ of the topology."),
]


def build(
    pipeline: Name,
    model: Model,
    version: NewVersion,
    name: ModelName = None,
    meaning: Meaning = None,
    figures: Figures = None,
    input_: Input = "",
    output: Output = "",
    column: Column = "",
    parent: Parent = "",
    licence: Licence = "",
    file: Files = None,
    sign_key: SignKey = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Make a bundle from an ONNX file, with the features of a pipeline and a checksum of each file.

    The model is loaded and tried: a bundle that a worker would refuse is not made. A version that exists is refused.
    Trees are compiled if that gives the same scores faster; the manifest says which engine answers.
    """
    _make(
        *(pipeline, model, version, name, meaning, directory, sign_key, as_json),
        command="build",
        figures=_read_figures(figures),
        input=input_,
        output=output,
        column=column,
        parent=parent,
        licence=licence,
        files={each.name: each for each in file or ()},
    )


def import_onnx(
    pipeline: Name,
    model: Model,
    version: NewVersion,
    name: ModelName = None,
    meaning: Meaning = None,
    input_: Input = "",
    output: Output = "",
    column: Column = "",
    licence: Licence = "",
    sign_key: SignKey = None,
    directory: Directory = None,
    as_json: Json = False,
) -> None:
    """Make a bundle from an ONNX file that was made elsewhere, for the features of a pipeline in their order.

    If it has several inputs, or several outputs of floats, they are listed with types and shapes, and nothing is made:
    name one with --input or --output.
    """
    _make(
        *(pipeline, model, version, name, meaning, directory, sign_key, as_json),
        command="import-onnx",
        input=input_,
        output=output,
        column=column,
        licence=licence,
    )


def _make(
    pipeline: str,
    model: Path,
    version: str,
    name: str | None,
    meaning: str | None,
    directory: Path | None,
    sign_key: Path | None,
    as_json: bool,
    *,
    command: str,
    parent: str = "",
    **fields: Any,
) -> None:
    from surgetank.cli.pipeline_argument import located, models_beside
    from surgetank.clock import SystemClock
    from surgetank.serving.bundle import load
    from surgetank.serving.bundle_build import Request, utc_text
    from surgetank.serving.bundle_build import build as build_bundle

    chosen, module = located(pipeline)
    folder = model_settings(directory).directory or models_beside(module)
    name = name or chosen.model
    before = parent.rpartition(":")[2]
    if before and meaning is None:
        meaning = load(folder, name, before).manifest.meaning
    request = Request(
        name=name,
        version=version,
        model=model,
        spec=chosen.spec,
        kind=chosen.scores.kind,
        meaning=meaning or f"the score of {name}",
        created_by=f"surgetank models {command} {pipeline} {model} --version {version}",
        created=utc_text(SystemClock().now()),
        parent=f"{name}:{before}" if before else "",
        **fields,
    )
    print_bundle(build_bundle(folder, request, sign_key=sign_key), "made", as_json=as_json)


def _read_figures(file: Path | None) -> dict[str, Any]:
    """Return the object of a JSON file. Raises SettingsError if there is none."""
    import json

    from surgetank.errors import SettingsError

    if file is None:
        return {}
    try:
        read = json.loads(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"--figures {file}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"--figures {file}: not JSON: {error}") from None
    if not isinstance(read, dict):
        raise SettingsError(f'--figures {file}: it must be an object, as {{"auc": 0.71}}')
    return read
