"""A stop that is asked for while the worker starts."""

import asyncio
import os
import threading
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pytest

from pipeline.clock import SystemClock
from pipeline.runtime.faust_host import FaustHost
from pipeline.settings import Settings
from pipeline.telemetry.health import Health


class Exited(BaseException):
    """The process would have ended."""


@dataclass
class SlowWorker:
    """Is a worker and its runtime; the start of the runtime ends when the test lets it."""

    settings: Settings = field(default_factory=Settings)
    health: Health = field(default_factory=lambda: Health(SystemClock(), conditions=("group",)))
    done: list[str] = field(default_factory=list)
    starting: threading.Event = field(default_factory=threading.Event)
    may_start: threading.Event = field(default_factory=threading.Event)

    @property
    def server(self) -> "SlowWorker.Server":
        """Return a server that does nothing."""
        return SlowWorker.Server()

    class Server:
        """Does nothing."""

        def start(self) -> None:
            """Do nothing."""

        def stop(self) -> None:
            """Do nothing."""

    def runtime(self) -> "SlowWorker":
        """Return the runtime."""
        return self

    def start(self) -> None:
        """Wait until the test lets the start end."""
        self.starting.set()
        self.may_start.wait(60)
        self.done.append("started")

    def stop(self) -> None:
        """Record the stop."""
        self.done.append("stopped")

    def stopped(self) -> None:
        """Do nothing."""

    def next_batch(self, timeout: float) -> None:
        """Return no batch."""

    def fail(self, error: BaseException) -> NoReturn:
        """Raise the error."""
        raise error


class Host(FaustHost):
    """Hosts a slow worker, whose startup checks end when the test lets them."""

    def __init__(self, worker: SlowWorker) -> None:
        super().__init__(put=lambda _: asyncio.sleep(0))
        self.slow = worker
        self.checking = threading.Event()
        self.checked = threading.Event()

    def build(self) -> Any:
        """Return the worker after its checks."""
        self.checking.set()
        self.checked.wait(60)
        return self.slow


async def test_a_stop_during_the_startup_checks_ends_the_process_with_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for no broker, and reports no error."""
    statuses: list[int] = []

    def end(status: int) -> NoReturn:
        statuses.append(status)
        raise Exited

    monkeypatch.setattr(os, "_exit", end)
    host = Host(SlowWorker())
    start = asyncio.create_task(host.on_start())
    await asyncio.to_thread(host.checking.wait, 60)
    with pytest.raises(Exited):
        await host.on_stop()
    assert statuses == [0]
    assert host.slow.done == []
    start.cancel()
    host.checked.set()


async def test_a_stop_during_the_start_of_the_runtime_waits_for_it_and_then_stops_it() -> None:
    """The worker may have joined the group already, so it leaves the group."""
    host = Host(SlowWorker())
    host.checked.set()
    start = asyncio.create_task(host.on_start())
    await asyncio.to_thread(host.slow.starting.wait, 60)
    stop = asyncio.create_task(host.on_stop())
    await asyncio.sleep(0)
    host.slow.may_start.set()
    await stop
    await start
    assert host.slow.done == ["started", "stopped"]
