"""``surgetank audit``: verify that every event was scored exactly once."""

from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import print_table

if TYPE_CHECKING:
    from surgetank.drills.audit_comparison import AuditReport


@with_settings
def audit(
    name: Name,
    wait: Annotated[
        float, typer.Option(min=0, help="While events have no outcome: seconds to wait without progress.")
    ] = 0.0,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Compare all events with all scores and dead letters, by id and by position.

    Every event must have exactly one score or one dead letter, and scores of one key must be in the order of
    its events. An id that a producer sent twice is two events. An event that the pipeline has not processed yet
    waits; it is not lost. The exit status is 1 if anything was lost, duplicated, unexpected or out of order, and with
    --wait also if events still wait.
    """
    from rich.markup import escape
    from rich.table import Table

    from surgetank.drills.audit import audit as run

    pipeline, settings = pipeline_and_settings(name, given)
    report = run(settings.kafka, pipeline, wait=wait)
    if as_json:
        print_json(report.as_dict())
    else:
        table = Table(title=f"audit of {name}", title_justify="left")
        table.add_column("what")
        table.add_column("number", justify="right")
        table.add_column("examples", overflow="fold")
        faults = {"lost", "duplicates", "unexpected", "out_of_order"}
        for what, number in report.as_dict().items():
            if what not in {"ok", "examples"}:
                style = "bold red" if what in faults and number else ""
                examples = escape(", ".join(report.examples.get(what, ())))
                table.add_row(what.replace("_", " "), f"{number:,}", examples, style=style)
        print_table(table)
        typer.echo(_verdict(report))
    if not report.correct or (wait and report.waiting):
        raise typer.Exit(1)


def _verdict(report: "AuditReport") -> str:
    verdict = "exactly once" if report.correct else "NOT exactly once"
    if report.waiting:
        verdict += f" so far: {report.waiting:,} events wait to be processed" * report.correct
    if report.held_back:
        verdict += (
            f"; {report.held_back:,} records behind open transactions of producers cannot be read and are missing"
        )
    return verdict
