"""``surgetank timeline``: show the events of a pipeline's timeline, and receive alerts."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from surgetank.cli.options import (
    Name,
    SettingsOptions,
    interrupt_on_sigterm,
    pipeline_and_settings,
    print_json,
    with_settings,
)

if TYPE_CHECKING:
    from surgetank.timeline.events import TimelineEvent

_FOLLOW_SECONDS = 0.5
_STYLES = {
    "worker_failed": "bold red",
    "alert": "red",
    "anomaly": "yellow",
    "deploy": "bold cyan",
    "rollout": "bold cyan",
    "operator_command": "cyan",
    "task_opened": "dim",
}


class _PipelineOrCommand(TyperGroup):
    """Makes ``timeline PIPELINE`` short for ``timeline show PIPELINE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``show`` unless the first argument is a command."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_PipelineOrCommand, no_args_is_help=True)


@app.callback()
def group() -> None:
    """Show the timeline of a pipeline (``timeline PIPELINE``), or receive alerts (``timeline receive PIPELINE``)."""


@app.command()
@with_settings
def show(
    name: Name,
    since: Annotated[str, typer.Option(help="15m, 1h, 2d (ago), or a time in UTC: 22:05, 2026-11-24T22:05")] = "1h",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="continue until Ctrl-C or SIGTERM")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per event")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Print the events of the timeline, ordered by time; with --follow, also new events as they are written.

    Starts, stops and failures of workers, deploys, rebalances, anomalies, alerts, operators' commands. Times are UTC.
    """
    from surgetank.clock import SystemClock
    from surgetank.timeline.reader import open_timeline
    from surgetank.timeline.time_parsing import parse_time_ms

    interrupt_on_sigterm()
    pipeline, settings = pipeline_and_settings(name, given)
    since_ms = parse_time_ms(since, SystemClock().now())
    unreadable = 0
    try:
        with open_timeline(settings.kafka, pipeline, since_ms) as reader:
            _print(reader.history(), as_json)
            while follow:
                _print(reader.next(_FOLLOW_SECONDS), as_json)
            unreadable = reader.unreadable
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit from None
    if unreadable:
        typer.echo(f"surgetank: {unreadable:,} records of the timeline do not decode as events", err=True)


def _print(events: "list[TimelineEvent]", as_json: bool) -> None:
    from rich.console import Console
    from rich.text import Text

    from surgetank.timeline.events import format_time

    if as_json:
        for event in events:
            print_json(event.as_dict())
        return
    console = Console(soft_wrap=True, highlight=False)
    for event in events:
        line = f"{format_time(event.at)}  {event.kind:<17} {event.who:<24} {' '.join(event.what.splitlines())}"
        # Text from outside is printed unchanged, except for control characters that would move the cursor.
        plain = "".join(sign if sign.isprintable() else "?" for sign in line)
        console.print(Text(plain, style=_STYLES.get(event.kind, "")))


@app.command()
@with_settings
def receive(
    name: Name,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on; 0: any free one")] = 9099,
    host: Annotated[str, typer.Option(help="address to bind")] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="print the URL as one JSON object")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Serve a webhook for Alertmanager that writes alerts to the timeline, until Ctrl-C or SIGTERM.

    In Alertmanager: `webhook_configs: [{url: "http://127.0.0.1:9099/alerts"}]`. An alert whose label `pipeline` names
    another pipeline is ignored. Repeated notifications of an alert are written once. The settings http.*
    give the webhook a token and TLS.
    """
    import signal
    import threading

    from surgetank.http.alertmanager_webhook import AlertmanagerWebhook
    from surgetank.http.endpoint_security import EndpointSecurity
    from surgetank.kafka import clients
    from surgetank.kafka.topic_reader import partitions
    from surgetank.telemetry import logs

    pipeline, settings = pipeline_and_settings(name, given)
    logs.configure(settings.telemetry, pipeline=pipeline.name)
    security = EndpointSecurity(settings.http)
    security.check_exposure(host)
    partitions(clients.admin(settings.kafka), [pipeline.timeline], settings.kafka.bootstrap)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with AlertmanagerWebhook(settings.kafka, pipeline, host=host, port=port, security=security) as webhook:
        if as_json:
            print_json({"url": webhook.url})
        else:
            typer.echo(f"Alertmanager may post to {webhook.url}")
        try:
            stopping.wait()
        except KeyboardInterrupt:
            raise typer.Exit from None
