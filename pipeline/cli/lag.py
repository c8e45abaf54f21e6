"""How far behind a pipeline is, per partition."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.lag.offsets import PartitionLag

_WATCH_SECONDS = 1.0


def lag(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="for instance flights, or topology.flights")],
    group: Annotated[str | None, typer.Option(help="consumer group; by default the pipeline's")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on once a second until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per look")] = False,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's bootstrap servers")] = None,
) -> None:
    """Show how far behind the workers are: log end, committed offset, lag and owner of each partition."""
    import json

    from rich.console import Console
    from rich.live import Live

    from pipeline.cli.resolve import resolve
    from pipeline.lag.offsets import GroupOffsets
    from pipeline.settings import load

    kafka = load({"kafka.bootstrap": bootstrap}).kafka
    pipeline = resolve(name)
    group = group or pipeline.group
    offsets = GroupOffsets(kafka, group, [pipeline.events.topic])
    try:
        if as_json:
            typer.echo(json.dumps(_plain(group, offsets.now())))
            while watch:
                time.sleep(_WATCH_SECONDS)
                typer.echo(json.dumps(_plain(group, offsets.now())))
        elif not watch:
            Console().print(_table(group, offsets.now()))
        else:
            with Live(_table(group, offsets.now()), auto_refresh=False) as live:
                while True:
                    time.sleep(_WATCH_SECONDS)
                    live.update(_table(group, offsets.now()), refresh=True)
    except KeyboardInterrupt:
        raise typer.Exit from None


def _plain(group: str, partitions: "tuple[PartitionLag, ...]") -> dict[str, object]:
    return {
        "group": group,
        "lag": sum(partition.lag for partition in partitions),
        "partitions": [
            {
                "topic": partition.source.topic,
                "partition": partition.source.partition,
                "end": partition.end,
                "committed": partition.committed,
                "lag": partition.lag,
                "owner": partition.owner,
            }
            for partition in partitions
        ],
    }


def _table(group: str, partitions: "tuple[PartitionLag, ...]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"group {group}"), show_footer=True)
    table.add_column("partition", footer="all")
    table.add_column("log end", justify="right", footer=f"{sum(p.end - p.start for p in partitions):,}")
    table.add_column("committed", justify="right")
    table.add_column("lag", justify="right", footer=f"{sum(p.lag for p in partitions):,}")
    table.add_column("owner", footer=f"{len({p.owner for p in partitions} - {None})} workers")
    for p in partitions:
        committed = "never" if p.committed is None else f"{p.committed:,}"
        table.add_row(escape(str(p.source)), f"{p.end:,}", committed, f"{p.lag:,}", escape(p.owner or "nobody"))
    return table
