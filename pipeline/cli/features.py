"""``surgetank features``: compute the model's inputs offline, and compare them with those of workers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.offline.feature_log_check import FeatureLogReport

app = typer.Typer(
    help="The model's inputs: computed offline for training, and compared with those of workers.", no_args_is_help=True
)


@app.command()
def backfill(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="For instance flights, or topology.flights.")],
    events: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            exists=True,
            help="Folder of recorded events: TOPIC.parquet, .arrow or .feather, or a folder TOPIC of such files, "
            "for the events and for each topic of facts; by default the pipeline's own recording.",
        ),
    ] = None,
    arrived: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of those files that says when an event arrived, which is the order in which a worker takes "
            "events and facts; by default they are taken in the order of event time.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; by default PIPELINE-features.parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Compute the features of all recorded events offline, and write them to a Parquet file to train a model on.

    They are those that a worker computes: features without memory by the same code, statistics of tables by SQL that
    is generated from the declaration and run by DuckDB (pip install 'surgetank[offline]'). Each event sees the facts
    that stand before it. The file has event_id, event_time and a float32 column per feature, null where it is
    missing; its metadata has the fingerprint of the features, which a model bundle names.
    """
    import json

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from pipeline.cli.pipeline_argument import recording_of, resolve
    from pipeline.offline.backfill import backfill as run
    from pipeline.offline.history import History

    if arrived is not None and events is None:
        raise typer.BadParameter("--arrived is for --events; a recording is in the order of event time")
    pipeline = resolve(name)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading events", total=None)
        if events is None:
            history = History.of(recording_of(pipeline), pipeline)
        else:
            history = History.read(events, pipeline, arrived)

        def told(what: str, done: int, total: int) -> None:
            # A query says nothing until it is done: then a bar that moves without end is the truth.
            progress.update(task, description=what, completed=done, total=total if done else None)

        written = run(pipeline, history, out or Path(f"{pipeline.name}-features.parquet"), told)
    if as_json:
        typer.echo(json.dumps(written.as_dict()))
        return
    facts = "".join(f", {number:,} facts of {topic}" for topic, number in written.facts.items())
    typer.echo(f"{written.events:,} events{facts}, {len(written.missing)} features, {written.seconds:.1f} s")
    for feature, number in written.missing.items():
        if number:
            typer.echo(f"{feature} is missing in {number:,}")
    typer.echo(f"wrote {written.file}: {written.bytes:,} bytes, features {written.fingerprint[:12]}")


@app.command()
def compare(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="For instance flights, or topology.flights.")],
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's bootstrap servers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Compare the features that workers recorded with those that the same topics give offline. Status 1 if any differs.

    Workers record where features.record is true, into PIPELINE.features, which `surgetank topics apply PIPELINE
    --features` makes. What is counted, kept or chosen must be the same to the last bit, sums within 1e-9 of the
    greater; also in tables fed by facts, for each record says which facts its event followed. All events and facts are
    read from the first one on, and held in memory. Needs DuckDB, the extra "offline" of this package.
    """
    import json

    from rich.console import Console

    from pipeline.cli.pipeline_argument import resolve
    from pipeline.offline.feature_log_check import check_feature_log
    from pipeline.settings import load

    settings = load({"kafka.bootstrap": bootstrap})
    pipeline = resolve(name)
    with Console(stderr=True).status("") as status:
        report = check_feature_log(settings.kafka, pipeline, settings.state, status.update)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: "FeatureLogReport") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    skew = report.skew
    table = Table(title=f"{skew.events:,} events of {report.pipeline}, online and offline", title_justify="left")
    table.add_column("feature", overflow="fold")
    for column in ("known", "differing", "apart at worst"):
        table.add_column(column, justify="right")
    table.add_column("for instance, as partition:offset", overflow="fold")
    for each in skew.features:
        worst = f"{each.worst:.1e}" if each.worst else "0"
        style = "bold red" if each.differing else ""
        cells = (f"{each.known:,}", f"{each.differing:,}", worst, escape("\n".join(each.examples)))
        table.add_row(each.name, *cells, style=style)
    Console().print(table)
    for number, what in (
        (report.unrecorded, "events have no record: not scored, or not while features were recorded"),
        (report.others, "records are of another declaration of the features"),
        (report.doubled, "events have more than one record"),
        (report.gone, "records are of events that the topic no longer has"),
        (skew.only_online, "records are of events that never were: the topic was made anew"),
    ):
        if number:
            typer.echo(f"{number:,} {what}")
    for source, first in report.lacking.items():
        typer.echo(f"{source} begins at offset {first:,}: what was told before is not known here")
    typer.echo("no skew" if report.ok else "SKEW" if skew.events else f"nothing is recorded of {report.pipeline}")
