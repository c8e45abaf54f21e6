"""``surgetank audit``: verify that every event was scored exactly once."""

from typing import Annotated

import typer


def audit(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="For example flights, or topology.flights.")],
    wait: Annotated[
        float, typer.Option(min=0, help="While events have no outcome: seconds to wait without progress.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's bootstrap servers.")] = None,
) -> None:
    """Compare all events with all scores and dead letters, by id and by position.

    Every event must have exactly one score or one dead letter, and scores of one key must be in the order of
    its events. An id that a producer sent twice is two events. The exit status is 1 if anything was lost,
    duplicated, unexpected or out of order.
    """
    import json

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.pipeline_argument import resolve
    from pipeline.drills.audit import audit as run
    from pipeline.settings import load

    kafka = load({"kafka.bootstrap": bootstrap}).kafka
    report = run(kafka, resolve(name), wait=wait)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
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
        Console().print(table)
        typer.echo("exactly once" if report.ok else "NOT exactly once")
    if not report.ok:
        raise typer.Exit(1)
