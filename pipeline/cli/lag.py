"""``surgetank lag``: show the lag of a consumer group, per partition."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pipeline.kafka.offset_collector import CollectedOffsets, OffsetQuery
    from pipeline.lag.group_monitor import GroupSnapshot
    from pipeline.settings import KafkaSettings

_WATCH_SECONDS = 1.0
_ANSWER_SECONDS = 15.0
_HEADS_MAX = 500
_FRAME_ROWS = 8  # title, header, footer and rules


def lag(
    name: Annotated[
        str | None, typer.Argument(metavar="PIPELINE", help="for example flights, or topology.flights")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="any consumer group of any application; default: the pipeline's group")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="refresh every second until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per refresh")] = False,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's bootstrap servers")] = None,
) -> None:
    """Show the lag of a consumer group: records and seconds, rates, time to drain, status, owners.

    For a pipeline, the partitions of its events; for another --group, all partitions with committed offsets. Rates,
    time to drain and status need several samples: use --watch. Unknown values are shown as ?, never as 0.
    """
    from pipeline.errors import SettingsError
    from pipeline.kafka.offset_collector import OffsetQuery
    from pipeline.settings import load

    kafka = load({"kafka.bootstrap": bootstrap}).kafka
    topics: tuple[str, ...] = ()
    if name is not None:
        from pipeline.cli.pipeline_argument import resolve

        pipeline = resolve(name)
        group, topics = group or pipeline.group, (pipeline.events.topic,)
    if group is None:
        raise SettingsError("name a pipeline (surgetank lag flights) or a group (surgetank lag --group G)")
    question = OffsetQuery(group=group, topics=topics, heads_max=_HEADS_MAX)
    if watch:
        try:
            _watch(kafka, question, as_json)
        except KeyboardInterrupt:
            raise typer.Exit from None
    else:
        from pipeline.lag.offset_collector_process import OffsetCollectorProcess

        with OffsetCollectorProcess(kafka) as asking:
            _show(_looking(question, lambda about: asking.ask(about, _ANSWER_SECONDS))(), as_json)


def _looking(
    question: "OffsetQuery", ask: "Callable[[OffsetQuery], CollectedOffsets]"
) -> "Callable[[], GroupSnapshot]":
    from pipeline.clock import SystemClock
    from pipeline.lag.group_monitor import GroupMonitor

    return GroupMonitor(question, ask, SystemClock()).poll


def _show(look: "GroupSnapshot", as_json: bool) -> None:
    import json

    from rich.console import Console

    from pipeline.lag.table import as_dict, table

    if as_json:
        typer.echo(json.dumps(as_dict(look)))
    else:
        Console().print(table(look))


def _watch(kafka: "KafkaSettings", question: "OffsetQuery", as_json: bool) -> None:
    """Refresh repeatedly; while Kafka is unreachable, show the error and continue."""
    import json

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from pipeline.errors import BrokerError
    from pipeline.lag.offset_collector_process import OffsetCollectorProcess
    from pipeline.lag.table import table

    console = Console(quiet=as_json)
    with OffsetCollectorProcess(kafka) as asking, Live(console=console, auto_refresh=False) as live:
        look = _looking(question, lambda about: asking.ask(about, _ANSWER_SECONDS))
        while True:
            try:
                seen = look()
            except BrokerError as error:
                live.update(Text(f"the lag is unknown: {error}", style="red"), refresh=True)
                if as_json:
                    typer.echo(json.dumps({"group": question.group, "error": str(error)}))
            else:
                live.update(table(seen, max(1, console.height - _FRAME_ROWS)), refresh=True)
                if as_json:
                    _show(seen, as_json)
            time.sleep(_WATCH_SECONDS)
