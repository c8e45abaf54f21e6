"""``surgetank incident``: write a post-mortem."""

from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli.options import Name, SettingsOptions, pipeline_and_settings, with_settings

app = typer.Typer(help="Write a post-mortem of an incident.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Write a post-mortem of an incident."""


@app.command()
@with_settings
def report(
    name: Name,
    from_: Annotated[str, typer.Option("--from", help="2h (ago), 22:05, 2026-11-24T22:05; in UTC")],
    to: Annotated[str, typer.Option(help="as --from")] = "now",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="file to write; default: incident-PIPELINE-TIME.md")
    ] = None,
    prometheus: Annotated[str | None, typer.Option(help="Prometheus' URL, for plots of its metrics")] = None,
    *,
    given: SettingsOptions,
) -> None:
    """Write a post-mortem template: Markdown with the facts, the timeline, and plots as SVG files."""
    from surgetank.clock import SystemClock
    from surgetank.errors import SettingsError
    from surgetank.timeline.events import format_time
    from surgetank.timeline.incident import incident_report
    from surgetank.timeline.reader import read_history
    from surgetank.timeline.time_parsing import parse_time_ms

    now = SystemClock().now()
    start, end = parse_time_ms(from_, now), parse_time_ms(to, now)
    if start >= end:
        raise SettingsError(f"--from {from_} ({format_time(start)}) is not before --to {to} ({format_time(end)})")
    pipeline, settings = pipeline_and_settings(name, given)
    stamp = format_time(start)[:16].replace(":", "").replace("-", "")
    files = incident_report(
        pipeline.name,
        read_history(settings.kafka, pipeline, start, end),
        start=start,
        end=end,
        written_at=round(now * 1000),
        file=output or Path(f"incident-{pipeline.name}-{stamp}.md"),
        prometheus=prometheus,
    )
    for file in files:
        typer.echo(f"wrote {file}")
