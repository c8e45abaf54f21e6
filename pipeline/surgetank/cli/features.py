"""``surgetank features``: compute the model's inputs offline, and compare them with those of workers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import print_table

if TYPE_CHECKING:
    from surgetank.offline.feature_log_check import FeatureLogReport

app = typer.Typer(
    help="Compute the model's inputs offline for training, and compare them with those of workers.",
    no_args_is_help=True,
)


@app.command()
def backfill(
    name: Name,
    events: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            exists=True,
            help="Folder of recorded events: TOPIC.parquet, .arrow or .feather, or a folder TOPIC of such files, "
            "for the events and for each topic of facts; default: the pipeline's own recording.",
        ),
    ] = None,
    arrived: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of these files with the arrival time of an event, which is the order in which a worker "
            "processes events and facts; default: the order of event time.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; default: PIPELINE-features.parquet.")] = None,
    as_json: Json = False,
) -> None:
    """Compute the features of all recorded events offline, and write them to a Parquet file for training.

    The values are those that a worker computes: stateless features by the same code, aggregates by SQL that is
    generated from the declaration and run by DuckDB (pip install 'surgetank[offline]'). Each event sees the facts
    before it. The file has event_id, event_time and a float32 column per feature, null for missing values; its
    metadata has the fingerprint of the features, as a model bundle does.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from surgetank.cli.pipeline_argument import recording_of, resolve
    from surgetank.offline.backfill import backfill as run
    from surgetank.offline.history import History

    if arrived is not None and events is None:
        raise typer.BadParameter("--arrived requires --events; a recording is in the order of event time")
    pipeline = resolve(name)
    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading events", total=None)
        if events is None:
            history = History.of(recording_of(pipeline), pipeline)
        else:
            history = History.read(events, pipeline, arrived)

        def show(what: str, done: int, total: int) -> None:
            # A query reports no progress until it is done, so the bar is indeterminate meanwhile.
            progress.update(task, description=what, completed=done, total=total if done else None)

        written = run(pipeline, history, out or Path(f"{pipeline.name}-features.parquet"), show)
    if as_json:
        print_json(written)
        return
    facts = "".join(f", {number:,} facts of {topic}" for topic, number in written.facts.items())
    typer.echo(f"{written.events:,} events{facts}, {len(written.missing)} features, {written.seconds:.1f} s")
    for feature, number in written.missing.items():
        if number:
            typer.echo(f"{feature} is missing in {number:,}")
    typer.echo(f"wrote {written.file}: {written.bytes:,} bytes, features {written.fingerprint[:12]}")


@app.command()
@with_settings
def compare(
    name: Name,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Compare the features recorded by workers with features computed offline. The exit status is 1 if any differs.

    Workers record features if features.record is true, to PIPELINE.features, which `surgetank topics apply PIPELINE
    --features` creates. Counts, extremes and last values must be equal bit by bit, sums within 1e-9 of the greater
    value; also for tables updated by facts, because each record says which facts preceded its event. All events and
    facts are read from the beginning, and held in memory. Requires DuckDB, the extra "offline" of this package.
    """
    from rich.console import Console

    from surgetank.offline.feature_log_check import check_feature_log

    pipeline, settings = pipeline_and_settings(name, given)
    with Console(stderr=True).status("") as status:
        report = check_feature_log(settings.kafka, pipeline, settings.state, status.update)
    if as_json:
        print_json(report.as_dict())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(1)


def _show(report: "FeatureLogReport") -> None:
    from rich.markup import escape
    from rich.table import Table

    skew = report.skew
    table = Table(title=f"{skew.events:,} events of {report.pipeline}, online and offline", title_justify="left")
    table.add_column("feature", overflow="fold")
    for column in ("known", "differing", "greatest difference"):
        table.add_column(column, justify="right")
    table.add_column("examples, as partition:offset", overflow="fold")
    for each in skew.features:
        worst = f"{each.worst:.1e}" if each.worst else "0"
        style = "bold red" if each.differing else ""
        cells = (f"{each.known:,}", f"{each.differing:,}", worst, escape("\n".join(each.examples)))
        table.add_row(each.name, *cells, style=style)
    print_table(table)
    for number, what in (
        (report.unrecorded, "events have no record: not scored, or scored while recording was off"),
        (report.others, "records are of another declaration of the features"),
        (report.doubled, "events have more than one record"),
        (report.gone, "records are of events deleted from the topic"),
        (skew.only_online, "records are of unknown events: the topic was recreated"),
    ):
        if number:
            typer.echo(f"{number:,} {what}")
    for source, first in report.lacking.items():
        typer.echo(f"{source} begins at offset {first:,}: earlier records are unknown")
    typer.echo("no skew" if report.ok else "SKEW" if skew.events else f"nothing is recorded of {report.pipeline}")
