"""Hosts a worker in Faust: its app, its process, and the service that puts batches into the agents' channel.

Faust supplies agents, services and the CLI; its Kafka transport and its web server are disabled through its own
settings.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
import mode
from confluent_kafka import KafkaException
from faust.app.base import BootStrategy

from surgetank.errors import BrokerError, StartupError, SurgetankError
from surgetank.http.server import HttpServer
from surgetank.records import BatchOutput, TaskRecords
from surgetank.runtime.task_batch import TaskBatch
from surgetank.runtime.worker_runtime import WorkerRuntime
from surgetank.telemetry.health import Health, beat_forever

FETCH_SECONDS = 0.02  # how long the event loop may block while it waits for a first record
START_SECONDS = 10.0  # how long a stop waits for a start that is in progress
LOOP_SECONDS = 5.0  # event loop heartbeat deadline, in addition to the deadline of a model call
# With Python's default threshold of 700 the garbage collector traversed all records in flight again and again, which
# took a third of the fetcher's time. Objects created before the first record are frozen and never traversed.
COLLECT_AFTER = (100_000, 50, 100)


class _Boot(BootStrategy):  # type: ignore[misc]
    """Starts only agents and the worker's service in Faust."""

    enable_kafka = False
    enable_web = False


class FaustApp(faust.App):  # type: ignore[misc]
    """A Faust app without Kafka and without web server."""

    BootStrategy = _Boot

    def _create_directories(self) -> None:
        """Create none of Faust's folders, which nothing here uses."""


class FaustProcess(faust.Worker):  # type: ignore[misc]
    """Faust's process without its logs, spinner and debugging signals.

    By default ``faust worker`` logs every event twice, and drops the last log lines at ``-l error``. On SIGUSR1 it
    prints all stacks with their local variables, including passwords, and on SIGUSR2 it opens a debugger.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options | {"override_logging": False, "quiet": True})
        self.spinner = None

    def install_signal_handlers(self) -> None:
        """Stop on SIGTERM and SIGINT; ignore SIGUSR1 and SIGUSR2, which would otherwise end the process."""
        self.loop.add_signal_handler(signal.SIGINT, self._on_sigint)
        self.loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)
        for ignored in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(ignored, signal.SIG_IGN)


@dataclass(frozen=True, slots=True)
class HostedWorker:
    """The parts of a worker that the host runs.

    ``process`` computes the records of one batch at a time, in the event loop's thread, and returns None if no output
    may be committed. ``on_failure`` ends the process because of an error; ``on_stopped`` reports that the runtime has
    stopped on request, and may block for seconds.
    """

    runtime: WorkerRuntime
    process: Callable[[Sequence[TaskRecords]], BatchOutput | None]
    server: HttpServer
    health: Health
    call_deadline_seconds: float
    on_failure: Callable[[BaseException], None]
    on_stopped: Callable[[], None]


def startup_error(error: Exception) -> SurgetankError:
    """Return the error to report for a failed start: a SurgetankError unchanged, any other as a BrokerError."""
    if isinstance(error, SurgetankError):
        return error
    cause = error.args[0] if error.args else error
    said = cause.str() if hasattr(cause, "str") else str(error)
    return BrokerError(f"Kafka refuses this worker: {said}; look at the kafka.* settings and at the brokers' ACLs")


class FaustHost(mode.Service):  # type: ignore[misc]
    """Runs a worker inside an event loop.

    ``build`` returns the worker after all startup checks, or raises StartupError; ``put`` is the channel's put. The
    event loop's thread computes: librdkafka sends heartbeats from its own threads, and everything that must respond
    while a batch is computed has a separate thread. One batch at a time is in the channel or computed.
    """

    def __init__(
        self, *, build: Callable[[], HostedWorker], put: Callable[[TaskBatch], Awaitable[Any]], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._build = build
        self._put = put
        self._built = False
        self._started = asyncio.Event()

    async def on_start(self) -> None:
        """Run the startup checks, join the group and start to put batches into the channel."""
        self._free = asyncio.Semaphore(1)
        self._worker = worker = await asyncio.to_thread(self._checked)
        self._built = True
        worker.health.watch("event loop", deadline_seconds=worker.call_deadline_seconds + LOOP_SECONDS)
        self.add_future(beat_forever(worker.health))
        worker.server.start()
        try:
            await asyncio.to_thread(worker.runtime.start)
        except Exception as error:  # noqa: BLE001 - Faust would print a traceback and exit with its own status
            worker.on_failure(startup_error(error))
            return
        self._started.set()
        worker.health.set("group", True)
        self.add_future(self._pump())

    async def on_stop(self) -> None:
        """Commit the open transaction, leave the group and end the threads.

        End the process at once, with status 0, during the startup checks and if Kafka does not let the start finish:
        the worker has committed nothing yet, and its threads cannot be interrupted.
        """
        try:
            await asyncio.wait_for(self._started.wait(), START_SECONDS if self._built else 0)
        except TimeoutError:
            os._exit(0)
        await asyncio.to_thread(self._worker.runtime.stop)
        await asyncio.to_thread(self._worker.on_stopped)
        self._worker.server.stop()

    async def process(self, batch: TaskBatch) -> None:
        """Compute a batch and submit its outputs to the transaction. Called by the agent."""
        try:
            self._worker.runtime.submit(batch, self._worker.process(batch.tasks))
        except Exception as error:  # noqa: BLE001 - Faust would treat it as handled and continue
            self._worker.on_failure(error)
            return
        self._free.release()

    def _checked(self) -> HostedWorker:
        """Return the worker; on an error of the setup, print it and end the process with its exit code."""
        try:
            worker = self._build()
        except (StartupError, KafkaException) as error:
            # Faust would print a traceback and exit with its own code.
            reported = startup_error(error)
            print(f"surgetank: {reported}", file=sys.stderr, flush=True)
            os._exit(reported.exit_code)
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        return worker

    async def _pump(self) -> None:
        try:
            while not self.should_stop:
                await self._free.acquire()
                while (batch := self._worker.runtime.next_batch(FETCH_SECONDS)) is None:
                    await asyncio.sleep(0)
                    if self.should_stop:
                        return
                await self._put(batch)
        except Exception as error:  # noqa: BLE001 - Faust would print a traceback and exit with its own status
            self._worker.on_failure(error)


def faust_app(name: str, build: Callable[[], HostedWorker]) -> FaustApp:
    """Return the Faust app of a pipeline with this name. ``build`` is called when the app starts."""
    app = FaustApp(
        name,
        broker="kafka://unused",  # required by Faust, never connected
        store="memory://",
        datadir="never-created",
        autodiscover=False,
        Worker=FaustProcess,
    )
    batches = app.channel(maxsize=1, value_type=Any)
    host: dict[str, FaustHost] = {}

    class Host(FaustHost):
        """Starts the worker when Faust starts, which creates the service."""

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(build=build, put=lambda batch: batches.put(value=batch), **kwargs)
            host["service"] = self

        async def on_start(self) -> None:
            app.flow_control.resume()  # otherwise put() would block forever
            await super().on_start()

    app.service(Host)

    @app.agent(batches, name=f"{name}.score")  # type: ignore[untyped-decorator]
    async def score(stream: Any) -> None:
        """Process each batch from the channel."""
        async for batch in stream:
            await host["service"].process(batch)

    return app
