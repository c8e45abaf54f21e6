"""The Faust service that starts the runtime and puts batches into the agents' channel."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import mode

from pipeline.errors import BrokerError, SurgetankError
from pipeline.http.server import HttpServer
from pipeline.runtime.batch_output import BatchOutput, TaskBatch
from pipeline.runtime.worker_runtime import WorkerRuntime
from pipeline.settings import Settings
from pipeline.telemetry.health import Health, beat_forever

FETCH_SECONDS = 0.02  # how long the event loop may block while it waits for a first record
START_SECONDS = 10.0  # how long a stop waits for a start that is in progress
LOOP_SECONDS = 5.0  # event loop heartbeat deadline, in addition to the deadline of a model call


class HostedWorker(Protocol):
    """The worker that the service runs."""

    settings: Settings
    health: Health
    server: HttpServer

    def runtime(self) -> WorkerRuntime:
        """Return the runtime."""
        ...

    def compute(self, batch: TaskBatch) -> BatchOutput | None:
        """Process a batch in the event loop's thread, one at a time; None if no output may be committed."""
        ...

    def fail(self, error: BaseException) -> None:
        """End the process because of this error."""
        ...

    def stopped(self) -> None:
        """Report that the runtime has stopped on request. May block for seconds."""
        ...


def startup_error(error: Exception) -> SurgetankError:
    """Return the error to report for a failed start: a SurgetankError unchanged, any other as a BrokerError."""
    if isinstance(error, SurgetankError):
        return error
    cause = error.args[0] if error.args else error
    said = cause.str() if hasattr(cause, "str") else str(error)
    return BrokerError(f"Kafka refuses this worker: {said}; look at the kafka.* settings and at the brokers' ACLs")


class FaustHost(mode.Service):  # type: ignore[misc]
    """Runs a worker inside an event loop. ``put`` is the channel's put.

    The event loop's thread computes: librdkafka sends heartbeats from its own threads, and everything that
    must respond while a batch is computed has a separate thread. One batch at a time is in the channel or computed.
    """

    def __init__(self, *, put: Callable[[TaskBatch], Awaitable[Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._put = put
        self._built = False
        self._started = asyncio.Event()

    def build(self) -> HostedWorker:
        """Return the worker to run, after all startup checks."""
        raise NotImplementedError

    async def on_start(self) -> None:
        """Run the startup checks, join the group and start to put batches into the channel."""
        self._free = asyncio.Semaphore(1)
        self._worker = await asyncio.to_thread(self.build)
        self._built = True
        silent_seconds = self._worker.settings.model.call_deadline_seconds + LOOP_SECONDS
        self._worker.health.watch("event loop", deadline_seconds=silent_seconds)
        self.add_future(beat_forever(self._worker.health))
        self._worker.server.start()
        try:
            self.runtime = self._worker.runtime()
            await asyncio.to_thread(self.runtime.start)
        except Exception as error:  # noqa: BLE001 - Faust would print a traceback and exit with its own status
            self._worker.fail(startup_error(error))
            return
        self._started.set()
        self._worker.health.set("group", True)
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
        await asyncio.to_thread(self.runtime.stop)
        await asyncio.to_thread(self._worker.stopped)
        self._worker.server.stop()

    async def process(self, batch: TaskBatch) -> None:
        """Compute a batch and submit its outputs to the transaction. Called by the agent."""
        try:
            self.runtime.submit(batch, self._worker.compute(batch))
        except Exception as error:  # noqa: BLE001 - Faust would treat it as handled and continue
            self._worker.fail(error)
            return
        self._free.release()

    async def _pump(self) -> None:
        try:
            while not self.should_stop:
                await self._free.acquire()
                while (batch := self.runtime.next_batch(FETCH_SECONDS)) is None:
                    await asyncio.sleep(0)
                    if self.should_stop:
                        return
                await self._put(batch)
        except Exception as error:  # noqa: BLE001 - Faust would print a traceback and exit with its own status
            self._worker.fail(error)
