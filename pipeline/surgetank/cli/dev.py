"""``surgetank dev``: run the pipeline of a project while its files are edited."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.kafka import DATA, log_slow_steps
from surgetank.cli.options import SettingsOptions, interrupt_on_sigterm, with_settings

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_SCORES = 10


@with_settings
def dev(
    name: Annotated[
        str | None, typer.Argument(metavar="PIPELINE", help="For example my-fraud; default: the only one in topology/.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Sample events per second.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Show the first scores, then stop: for scripts.")] = False,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Start again when a file of the project has changed.")
    ] = True,
    *,
    given: SettingsOptions,
) -> None:
    """Start Kafka, make the topics, run a worker, send sample events and show their scores, until Ctrl-C.

    With --bootstrap that Kafka is used; without, one is started on this machine at the address kafka.bootstrap.
    Exit status 0 after --once: the first scores are there. All started processes are stopped in the end.
    """
    interrupt_on_sigterm()
    try:
        chosen = name or _only_pipeline()
        with _kafka(given) as servers:
            if once or not reload:
                _session(chosen, given._replace(bootstrap=servers), rate, _FIRST_SCORES if once else None)
            else:
                _restarting(chosen, given._replace(bootstrap=servers), rate)
    except KeyboardInterrupt:
        raise typer.Exit(0 if not once else 130) from None


def _only_pipeline() -> str:
    from surgetank.cli.pipeline_argument import known, no_pipelines
    from surgetank.errors import TopologyError

    names = known()
    if not names:
        raise TopologyError(no_pipelines())
    if len(names) > 1:
        raise TopologyError(f"topology/ has several pipelines; name one: surgetank dev {'|'.join(names)}")
    return names[0]


@contextlib.contextmanager
def _kafka(given: SettingsOptions) -> Iterator[str]:
    """Yield the bootstrap servers; those of a Kafka that is started here, and stopped in the end, if none are given."""
    from surgetank.errors import SettingsError, StartupError
    from surgetank.kafka.local.cluster import LocalCluster
    from surgetank.kafka.local.local_port import local_port

    if given.bootstrap is not None:
        typer.echo(f"using the Kafka at {given.bootstrap}")
        yield given.bootstrap
        return
    address = given.load().kafka.bootstrap
    port = local_port(address)
    if port is None:
        raise SettingsError(
            f"kafka.bootstrap is {address!r}, where no Kafka can be started from here; to use the one that is there: "
            f"surgetank dev --bootstrap {address}"
        )
    log_slow_steps()
    typer.echo(f"starting Apache Kafka at {address} (data and logs in {DATA})")
    cluster = LocalCluster(DATA, 1, port, short_lived=True)
    try:
        started = cluster.up()
    except StartupError as error:
        raise StartupError(f"{error}; or use another Kafka: surgetank dev --bootstrap HOST:PORT") from None
    try:
        yield cluster.bootstrap
    finally:
        if started:  # one that ran before goes on
            cluster.down()


def _session(name: str, given: SettingsOptions, rate: float, count: int | None) -> None:
    from surgetank.cli.pipeline_argument import located, recording_of
    from surgetank.cli.scores import print_table
    from surgetank.drills.dev_session import run_session

    pipeline, module = located(name)
    shown = 0

    def show(columns: "pa.RecordBatch") -> None:
        nonlocal shown
        print_table(columns, shown == 0)
        shown += columns.num_rows

    run_session(
        pipeline,
        module.__name__,
        recording_of(pipeline),
        kafka=given.load().kafka,
        worker_options=given.for_worker,
        folder=Path(".surgetank") / "dev",
        rate=rate,
        count=count,
        show=show,
        say=typer.echo,
    )


def _restarting(name: str, given: SettingsOptions, rate: float) -> None:
    import sys

    from surgetank.drills.restart_on_change import restart_on_change

    command = [sys.executable, "-m", "surgetank.cli", "dev", name]
    command += ["--bootstrap", str(given.bootstrap), "--rate", str(rate), "--no-reload", *given.for_worker]
    restart_on_change(command, Path.cwd(), typer.echo)
