"""``surgetank models quantize``: measure cheaper forms of a model, and write one of them as a version of its own."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgetank.cli.options import Json, print_json
from surgetank.cli.output import print_table

if TYPE_CHECKING:
    from surgetank.serving.bundle import Bundle
    from surgetank.serving.cheaper_models import CheaperModel


class Kind(StrEnum):
    """The forms that can be a version."""

    OPTIMIZED = "optimized"
    FLOAT16 = "float16"
    INT8 = "int8"


def quantize(
    model: Annotated[str, typer.Argument(metavar="NAME:VERSION", help="For example flights-late:network.")],
    calibrate_from: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Parquet file of recorded features, as `surgetank features backfill PIPELINE` writes it.",
        ),
    ],
    label: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of this file with what came true, 0 or 1, for the AUC.")
    ] = None,
    attach: Annotated[
        Kind | None, typer.Option(help="Write this form as a new version; default: measure only, write nothing.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The new version; default: VERSION-FORM, as network-int8.")
    ] = None,
    max_auc_loss: Annotated[
        float, typer.Option(min=0, help="Refuse a form whose AUC is lower by more than this.")
    ] = 0.001,
    max_difference: Annotated[
        float, typer.Option(min=0, help="Refuse a form with a score that differs by more than this.")
    ] = 0.02,
    directory: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder of bundles; default: model.directory, else topology/models."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure cheaper forms of a model: int8, float16, an optimized graph. With --attach, write one as a new version.

    Each form is compared on the recorded features: size, load time, seconds of a call with 1, 64 and 1,024 rows on one
    thread, how much scores differ, and the AUC. A form beyond a limit is refused; so is one whose scores depend on the
    batch, as those of dynamic int8 do. The exit status is 1 if the form of --attach is refused.
    """
    from surgetank.clock import SystemClock
    from surgetank.offline.feature_file import read_features
    from surgetank.serving.bundle import load
    from surgetank.serving.cheaper_models import Limits, cheaper_models, write_version
    from surgetank.settings import load as load_settings

    name, colon, wanted = model.partition(":")
    if not (name and colon and wanted):
        raise typer.BadParameter(f"{model!r}: the format is NAME:VERSION", param_hint="NAME:VERSION")
    settings = load_settings().model
    folder = directory or settings.directory or Path("topology") / "models"
    chosen = load(folder, name, wanted, verify_key=settings.verify_key_file)
    recorded = read_features(calibrate_from, chosen.features, chosen.manifest.fingerprint, label)
    limits = Limits(max_auc_loss, max_difference)
    forms = cheaper_models(chosen, recorded.matrix, recorded.labels, limits, SystemClock())
    written = None
    form = next((each for each in forms if attach is not None and each.kind == attach.value), None)
    if form is not None and not form.refused:
        command = f"surgetank models quantize {model} --calibrate-from {calibrate_from.name} --attach {form.kind}"
        written = write_version(folder, chosen, form, version or f"{wanted}-{form.kind}", command, SystemClock().now())
    if as_json:
        print_json(
            {"model": model, "rows": len(recorded.matrix), "forms": _objects(forms), "written": _folder(written)}
        )
    else:
        _print(model, len(recorded.matrix), forms)
        if written is not None:
            typer.echo(f"wrote {written.folder}")
    if form is not None and form.refused:
        typer.echo(f"surgetank: {form.kind} is not attached: {form.refused}", err=True)
        raise typer.Exit(1)


def _objects(forms: "Sequence[CheaperModel]") -> list[dict[str, Any]]:
    return [
        {
            "kind": each.kind,
            "refused": each.refused or None,
            "cost": each.cost,
            "difference": each.difference,
        }
        for each in forms
    ]


def _folder(written: "Bundle | None") -> str | None:
    return None if written is None else str(written.folder)


def _print(model: str, rows: int, forms: "Sequence[CheaperModel]") -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{model}, {rows:,} recorded rows", title_justify="left")
    table.add_column("form")
    for title in ("bytes", "load", "1 row", "64 rows", "1,024 rows", "difference", "its p99", "AUC", "lost"):
        table.add_column(title, justify="right")
    for each in forms:
        cells = [""] * 9
        if each.cost is not None:
            cost = each.cost
            cells[:5] = [f"{cost.bytes:,}", _time(cost.load_seconds), *map(_time, cost.call_seconds.values())]
        if (difference := each.difference) is not None:
            cells[5:7] = [f"{difference.largest:.2g}", f"{difference.p99:.2g}"]
            if difference.auc is not None and difference.auc_loss is not None:
                cells[7:] = [f"{difference.auc:.4f}", f"{difference.auc_loss:+.4f}"]
        table.add_row(each.kind, *map(escape, cells))
    print_table(table)
    for each in forms:
        if each.refused:
            typer.echo(f"{each.kind} is refused: {each.refused}")


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"
