"""``surgetank score``: score a file of events without Kafka."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import Json, print_json
from surgetank.errors import TopologyError

if TYPE_CHECKING:
    from surgetank.declaration import Pipeline
    from surgetank.edge.score_run import ScoreReport
    from surgetank.serving.bundle import Bundle


def score(
    bundle: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder of one version of a model, with its manifest.json."),
    ],
    events: Annotated[
        str,
        typer.Option(
            "--in", metavar="FILE", help="Events: an Avro object container file or JSON lines; -: standard input."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Avro object container file of the scores; an existing one is replaced.")],
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="PIPELINE", help="Default: the only pipeline of the project with this model."),
    ] = None,
    facts: Annotated[
        list[str] | None,
        typer.Option(metavar="TOPIC=FILE", help="Facts that update tables, merged by time. Repeatable."),
    ] = None,
    arrived: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the files with the time of arrival, the order of events and facts; default: event time.",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Folder that keeps the state from file to file; default: each run begins without."
        ),
    ] = None,
    dead_letters: Annotated[
        Path | None, typer.Option(help="File of the events without a score: .parquet or .jsonl.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Score a file of events as a worker scores a topic, without Kafka.

    The scores have the values that a worker gives: the same code decodes, computes features and runs the model. Tables
    see the events in the order of the file. The exit status is 1 if an event or a fact is a dead letter.
    """
    from surgetank.cli.pipeline_argument import resolve
    from surgetank.cli.progress_bar import progress_bar
    from surgetank.clock import SystemClock
    from surgetank.edge.score_run import ScoreFiles, score_files
    from surgetank.serving.bundle import read
    from surgetank.settings import load

    settings = load()
    chosen = read(bundle, verify_key=settings.model.verify_key_file)
    files = ScoreFiles(events, out, _by_topic(facts or ()), dead_letters, state, arrived)
    declared = _with_model(chosen) if pipeline is None else resolve(pipeline)
    with progress_bar() as show:
        report = score_files(
            declared, chosen, files, settings, SystemClock(), lambda done, size: show("scoring", done, size)
        )
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report.dead:
        typer.echo(f"surgetank: {report.dead:,} dead letters{_advice(dead_letters)}", err=True)
        raise typer.Exit(1)


def _print(report: "ScoreReport") -> None:
    facts = f", {report.facts:,} facts" if report.facts else ""
    filtered = f", {report.filtered:,} filtered" if report.filtered else ""
    typer.echo(
        f"{report.events:,} events{facts}: {report.scores:,} scores of {report.model} {report.version}{filtered}, "
        f"{report.seconds:.1f} s"
    )
    for reason, number in report.dead_letters.items():
        typer.echo(f"{number:,} dead letters, {reason}")
    typer.echo(f"wrote {report.file}")


def _advice(dead_letters: Path | None) -> str:
    return f" in {dead_letters}" if dead_letters is not None else "; --dead-letters FILE keeps them"


def _by_topic(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for each in given:
        topic, equals, file = each.partition("=")
        if not (topic and equals and file):
            raise typer.BadParameter(f"--facts {each!r}: the format is TOPIC=FILE")
        found[topic] = file
    return found


def _with_model(chosen: "Bundle") -> "Pipeline":
    """Return the only pipeline of the project that declares the model. Raises TopologyError if there is not one."""
    from surgetank.cli.pipeline_argument import known, no_pipelines, resolve

    names = known()
    if not names:
        raise TopologyError(no_pipelines())
    fitting = [each for each in map(resolve, names) if each.model == chosen.name]
    if len(fitting) != 1:
        found = ", ".join(each.name for each in fitting) or "none"
        raise TopologyError(
            f"the pipelines that declare the model {chosen.name!r}: {found}; name one with --pipeline; there are: "
            f"{', '.join(names)}"
        )
    return fitting[0]
