"""``surgetank lag``: how far behind a group is, per partition."""

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
_FRAME_ROWS = 8  # title, head, foot and rules


def lag(
    name: Annotated[
        str | None, typer.Argument(metavar="PIPELINE", help="for instance flights, or topology.flights")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="any consumer group of any application; by default the pipeline's")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on once a second until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per look")] = False,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's bootstrap servers")] = None,
) -> None:
    """Show how far behind a consumer group is: records and seconds, rates, time to drain, status, owners.

    Of a pipeline, the partitions of its events; of another --group, all where it committed something. Rates, drain and
    status need more than one look: use --watch. What is unknown is shown as ?, never as 0.
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
        raise SettingsError("whose lag? name a pipeline (surgetank lag flights) or a group (surgetank lag --group G)")
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

    return GroupMonitor(question, ask, SystemClock()).look


def _show(look: "GroupSnapshot", as_json: bool) -> None:
    import json

    from rich.console import Console

    from pipeline.lag.table import plain, table

    if as_json:
        typer.echo(json.dumps(plain(look)))
    else:
        Console().print(table(look))


def _watch(kafka: "KafkaSettings", question: "OffsetQuery", as_json: bool) -> None:
    """Look again and again; while Kafka is away, say so and go on."""
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
                live.update(Text(f"the lag is not known: {error}", style="red"), refresh=True)
                if as_json:
                    typer.echo(json.dumps({"group": question.group, "error": str(error)}))
            else:
                live.update(table(seen, max(1, console.height - _FRAME_ROWS)), refresh=True)
                if as_json:
                    _show(seen, as_json)
            time.sleep(_WATCH_SECONDS)
