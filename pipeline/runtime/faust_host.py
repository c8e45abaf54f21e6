"""The one service that Faust hosts: it starts the runtime, and lets whole batches into the agents' channel."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import mode

from pipeline.errors import BrokerError, SurgetankError
from pipeline.http.server import HttpServer
from pipeline.runtime.batch_output import BatchOutput
from pipeline.runtime.commit_policy import WORTHWHILE_ROWS
from pipeline.runtime.task_registry import TaskBatch
from pipeline.runtime.worker_runtime import WorkerRuntime
from pipeline.telemetry.health import Health, beat_forever

EMISSIONS_AHEAD = 2  # works that may wait for the transaction while the next one is computed


class HostedWorker(Protocol):
    """The worker that the service runs: its parts, and what it computes."""

    health: Health
    server: HttpServer

    def runtime(self, on_arrival: Callable[[], None]) -> WorkerRuntime:
        """Return the runtime; ``on_arrival`` may be called from any thread."""
        ...

    def compute(self, work: TaskBatch) -> BatchOutput | None:
        """Take a work through the flow; None if nothing of it may count. In a thread of its own, one at a time."""
        ...

    def fail(self, error: BaseException) -> None:
        """End the process because of this."""
        ...

    def stopped(self) -> None:
        """Take note that the runtime has ended as it was asked to. May block for seconds."""
        ...


def startup_error(error: Exception) -> SurgetankError:
    """Return what to tell of an error while a worker starts: our own as it is, others as Kafka's refusal."""
    if isinstance(error, SurgetankError):
        return error
    cause = error.args[0] if error.args else error
    said = cause.str() if hasattr(cause, "str") else str(error)
    return BrokerError(f"Kafka refuses this worker: {said}; look at the kafka.* settings and at the brokers' ACLs")


class FaustHost(mode.Service):  # type: ignore[misc]
    """Runs a worker inside an event loop. ``put`` is the channel's put.

    One work at a time is in the channel or computed: meanwhile the next batch gathers in the inbox.
    """

    def __init__(self, *, put: Callable[[TaskBatch], Awaitable[Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._put = put
        self._flow = ThreadPoolExecutor(1, thread_name_prefix="flow")

    def build(self) -> HostedWorker:
        """Return the worker to run, everything checked."""
        raise NotImplementedError

    async def on_start(self) -> None:
        """Check everything, join the group, begin to take batches."""
        loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._wakes_at: float = math.inf  # how many waiting rows wake the pump: each time costs a thread switch
        self._free = asyncio.Semaphore(1)
        self._ahead = asyncio.Semaphore(EMISSIONS_AHEAD)
        self._worker = await asyncio.to_thread(self.build)
        self._worker.health.watch("event loop", deadline_seconds=5)
        self.add_future(beat_forever(self._worker.health))
        self._worker.server.start()

        def on_arrival() -> None:
            if self.runtime.inbox.rows >= self._wakes_at:
                loop.call_soon_threadsafe(self._arrived.set)

        try:
            self.runtime = self._worker.runtime(on_arrival)
            await asyncio.to_thread(self.runtime.start)
        except Exception as error:  # noqa: BLE001 - Faust would print a traceback and end with a status of its own
            self._worker.fail(startup_error(error))
            return
        self._worker.health.set("group", True)
        self.add_future(self._pump())

    async def on_stop(self) -> None:
        """Commit what is open, leave the group, end the threads."""
        await asyncio.to_thread(self.runtime.stop)
        await asyncio.to_thread(self._worker.stopped)
        self._worker.server.stop()
        self._flow.shutdown(wait=False)

    async def process(self, work: TaskBatch) -> None:
        """Compute a work and hand its outputs to the transaction. This is what the agent calls."""
        loop = asyncio.get_running_loop()
        try:
            emission = await loop.run_in_executor(self._flow, self._worker.compute, work)
        except Exception as error:  # noqa: BLE001 - Faust would take it for handled and go on
            self._worker.fail(error)
            return
        self._free.release()
        await self._ahead.acquire()
        emitted = self.runtime.submit(work, emission)
        emitted.add_done_callback(lambda _: loop.call_soon_threadsafe(self._ahead.release))

    async def _gather(self) -> None:
        """Wait until something is there, then let the batch grow as long as that delays nothing."""
        self._wakes_at = 0  # also by a run that holds no row: markers
        while not self.runtime.inbox:
            self._arrived.clear()
            await self._arrived.wait()
        self._wakes_at = WORTHWHILE_ROWS
        while (seconds := self.runtime.patience()) > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
        self._wakes_at = math.inf

    async def _pump(self) -> None:
        while not self.should_stop:
            await self._free.acquire()
            await self._gather()
            work = self.runtime.take()
            if work is None:
                self._free.release()
                continue
            await self._put(work)
