"""``surgetank lag``: show the lag of a consumer group, per partition."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import SettingsOptions, pipeline_and_settings, print_json, with_settings
from surgetank.cli.output import output_console, print_table

if TYPE_CHECKING:
    from surgetank.lag.group_monitor import GroupMonitor

_WATCH_SECONDS = 1.0
_ANSWER_SECONDS = 15.0
_HEADS_MAX = 500
_FRAME_ROWS = 8  # title, header, footer and rules


@with_settings
def lag(
    name: Annotated[
        str | None, typer.Argument(metavar="PIPELINE", help="for example flights, or topology.flights")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="any consumer group of any application; default: the pipeline's group")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="refresh every second until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per refresh")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Show the lag of a consumer group: records and seconds, rates, time to drain, status, owners.

    For a pipeline, the partitions of its events; for another --group, all partitions with committed offsets. Rates,
    time to drain and status need several samples: use --watch. Unknown values are shown as ?, never as 0. Records
    behind an open transaction of a producer cannot be read yet: they are shown beside the lag.
    """
    from surgetank.clock import SystemClock
    from surgetank.errors import SettingsError
    from surgetank.kafka.offset_collector import OffsetQuery
    from surgetank.lag.group_monitor import GroupMonitor
    from surgetank.lag.offset_collector_process import OffsetCollectorProcess
    from surgetank.lag.table import as_dict, table

    topics: tuple[str, ...] = ()
    if name is not None:
        pipeline, settings = pipeline_and_settings(name, given)
        group, topics = group or pipeline.group, (pipeline.events.topic,)
    elif group is not None:
        settings = given.load()
    else:
        raise SettingsError("name a pipeline (surgetank lag flights) or a group (surgetank lag --group G)")
    query = OffsetQuery(group=group, topics=topics, heads_max=_HEADS_MAX)
    with OffsetCollectorProcess(settings.kafka) as collector:
        monitor = GroupMonitor(query, lambda query: collector.ask(query, _ANSWER_SECONDS), SystemClock())
        if watch:
            try:
                _watch(monitor, group, as_json)
            except KeyboardInterrupt:
                raise typer.Exit from None
        elif as_json:
            print_json(as_dict(monitor.poll()))
        else:
            print_table(table(monitor.poll(), width=output_console().width))


def _watch(monitor: "GroupMonitor", group: str, as_json: bool) -> None:
    """Refresh repeatedly; while Kafka is unreachable, show the error and continue."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from surgetank.errors import BrokerError
    from surgetank.lag.table import as_dict, table

    console = Console(quiet=as_json or not Console().is_terminal)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                snapshot = monitor.poll()
            except BrokerError as error:
                live.update(Text(f"the lag is unknown: {error}", style="red"), refresh=True)
                if as_json:
                    print_json({"group": group, "error": str(error)})
            else:
                live.update(table(snapshot, max(1, console.height - _FRAME_ROWS), console.width), refresh=True)
                if as_json:
                    print_json(as_dict(snapshot))
                elif not console.is_terminal:
                    print_table(table(snapshot, width=output_console().width))
            time.sleep(_WATCH_SECONDS)
