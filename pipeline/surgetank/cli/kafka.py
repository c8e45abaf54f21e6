"""``surgetank kafka``: run Apache Kafka on this machine, without Docker."""

from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli.options import Json, print_json
from surgetank.cli.output import print_table

app = typer.Typer(help="Run Apache Kafka on this machine, without Docker.", no_args_is_help=True)

Data = Annotated[
    Path,
    typer.Option("--data", help="Folder of the cluster: its data, logs and process ids.", file_okay=False),
]
DATA = Path(".surgetank/kafka")
_MAY = {"admin": "who may do everything", "app": "who may do what access control lists allow"}


@app.command()
def up(
    brokers: Annotated[int, typer.Option(help="1, or 3, which tolerate the loss of one.")] = 1,
    port: Annotated[
        int | None,
        typer.Option(
            help="First port; each broker uses two ports in sequence. Default: that of kafka.bootstrap, if this is on "
            "this machine, else 9092."
        ),
    ] = None,
    data: Data = DATA,
    security: Annotated[
        str | None,
        typer.Option(
            help="none, or scram-tls: TLS, users with passwords, access control lists. Default: that of the folder."
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Erase the data of the cluster in this folder first.")] = False,
    as_json: Json = False,
) -> None:
    """Start Kafka and wait until it is ready. A running cluster is left unchanged.

    The first run downloads Kafka's jars into a cache. Java 17 or later of this machine is used, else that of the
    package's extra `local`.
    With --security scram-tls clients need the settings of a user: each command takes the printed file with --config.
    """
    from surgetank.kafka.local.cluster import LocalCluster, security_of
    from surgetank.kafka.local.ephemeral_ports import ephemeral_ports, port_warning
    from surgetank.kafka.local.local_port import PORT, local_port
    from surgetank.settings import load

    log_slow_steps()
    first = port or local_port(load().kafka.bootstrap) or PORT
    cluster = LocalCluster(data, brokers, first, security=security_of(security, data))
    if warning := port_warning(range(first, first + 2 * brokers), ephemeral_ports()):
        typer.echo(f"surgetank: {warning}", err=True)
    started = cluster.up(fresh=fresh)
    files = {user: file for user in ("admin", "app") if (file := cluster.settings_file(user))}
    if as_json:
        shown = {"bootstrap": cluster.bootstrap, "data": str(cluster.data), "started": list(started)}
        print_json(shown | {"config": {user: str(file) for user, file in files.items()}})
        return
    if started:
        typer.echo(f"Kafka is ready at {cluster.bootstrap} (data and logs in {data})")
    else:
        typer.echo(f"Kafka is already running at {cluster.bootstrap} (data and logs in {data})")
    for user, file in files.items():
        typer.echo(f"--config {file}: user {user}, {_MAY[user]}")


@app.command()
def down(data: Data = DATA, as_json: Json = False) -> None:
    """Stop the brokers of this folder. The data remain; `up` starts the brokers again."""
    from surgetank.kafka.local.cluster import LocalCluster

    cluster = LocalCluster.found(data)
    ran = [one.id for one in cluster.status() if one.pid]
    killed = cluster.down()
    if as_json:
        print_json({"stopped": ran, "killed": list(killed)})
        return
    typer.echo(f"stopped {len(ran)} of {cluster.brokers} brokers" if ran else "no broker was running")


@app.command()
def status(data: Data = DATA, as_json: Json = False) -> None:
    """Show the brokers, and settings that differ from Kafka's defaults. Exit code 1: not all brokers run."""
    from dataclasses import asdict

    from surgetank.errors import BrokerError
    from surgetank.kafka.local.cluster import LocalCluster

    cluster = LocalCluster.found(data)
    brokers = cluster.status()
    whole = all(one.state == "running" for one in brokers)
    try:
        settings, problem = cluster.differing(), ""
    except BrokerError as error:
        settings, problem = (), str(error)
    if as_json:
        print_json(
            {
                "running": whole,
                "bootstrap": cluster.bootstrap,
                "data": str(cluster.data),
                "brokers": [asdict(one) for one in brokers],
                "settings": {one.name: {"value": one.value, "default": one.default} for one in settings},
            }
        )
    else:
        _print_tables(cluster.bootstrap, [asdict(one) for one in brokers], [asdict(one) for one in settings])
        if problem:
            typer.echo(problem, err=True)
    raise typer.Exit(0 if whole and not problem else 1)


@app.command()
def wait(
    data: Data = DATA,
    timeout: Annotated[float, typer.Option(help="Maximal wait in seconds.")] = 60.0,
) -> None:
    """Wait until every broker is ready. Exit code 2: a broker does not run, or the timeout has elapsed."""
    from surgetank.kafka.local.cluster import LocalCluster

    cluster = LocalCluster.found(data)
    cluster.wait(timeout)
    typer.echo(f"Kafka is ready at {cluster.bootstrap}")


def _print_tables(bootstrap: str, brokers: list[dict[str, object]], settings: list[dict[str, object]]) -> None:
    from rich.table import Table

    def cell(value: object) -> str:
        return "-" if value is None else str(value)

    headings = ("broker", "state", "pid", "port", "uptime s", "heap MiB", "resident MiB", "log")
    shown = Table(*headings, title=bootstrap, title_justify="left")
    columns = ("id", "state", "pid", "port", "uptime_seconds", "heap_mb", "resident_mb", "log")
    for one in brokers:
        shown.add_row(*(cell(one[column]) for column in columns))
    print_table(shown)
    if settings:
        differing = Table("setting", "value", "Kafka's default", title="settings fit for development, not production")
        for one in settings:
            differing.add_row(*(cell(one[column]) for column in ("name", "value", "default")))
        print_table(differing)


def log_slow_steps() -> None:
    """Print what takes long at the first start of a local Kafka."""
    import logging

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("surgetank.kafka").setLevel(logging.INFO)
