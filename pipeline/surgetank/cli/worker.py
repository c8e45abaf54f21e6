"""`surgetank worker`: run one worker of a pipeline."""

import logging
import os
import signal
from typing import Annotated

import typer

from surgetank.cli.options import SettingsOptions, with_settings

log = logging.getLogger(__name__)


@with_settings
def worker(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="name of a pipeline, as flights or topology.flights")
    ],
    name: Annotated[str | None, typer.Option(help="identity, unique among live workers (worker.name)")] = None,
    model_version: Annotated[str | None, typer.Option(help="bundle version (model.version)")] = None,
    port: Annotated[int | None, typer.Option(help="port of /metrics, /live, /ready (telemetry.port)")] = None,
    *,
    given: SettingsOptions,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C. Start more workers, on any machine, to share the partitions.

    \b
    Exit status:
      0  stopped normally
      1  an unexpected error
      2  a problem must be fixed first
      3  too many dead letters
      4  no progress within the deadline
      5  another live worker has this name
      6  no disk space for state
      7  the brokers reject the output of a task repeatedly
    """
    for stop in (signal.SIGTERM, signal.SIGINT):  # until Faust's handlers are there, nothing has to be ended in order
        signal.signal(stop, lambda *_: os._exit(0))

    from surgetank.cli.pipeline_argument import located, models_beside
    from surgetank.telemetry import logs

    settings = given.load({"worker.name": name, "model.version": model_version, "telemetry.port": port})
    logs.configure(settings.telemetry, pipeline=pipeline)
    log.info("starting a worker of %s on Kafka at %s", pipeline, settings.kafka.bootstrap)
    logging.getLogger().setLevel(logging.WARNING)  # until the worker configures the logs: its host is quiet before
    chosen, module = located(pipeline)

    from surgetank import app

    app.run(chosen, settings, models=models_beside(module))
