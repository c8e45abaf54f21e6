"""A stop that is asked for while the worker starts."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, cast

import pytest

from surgetank.clock import SystemClock
from surgetank.http.server import HttpServer
from surgetank.runtime.faust_host import FaustHost, HostedWorker, faust_app
from surgetank.runtime.worker_runtime import WorkerRuntime
from surgetank.telemetry.health import Health


class Exited(BaseException):
    """The process would have ended."""


@dataclass
class SlowRuntime:
    """A runtime whose start ends when the test lets it; it is the server of the worker too."""

    done: list[str] = field(default_factory=list)
    starting: threading.Event = field(default_factory=threading.Event)
    may_start: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Wait until the test lets the start end."""
        self.starting.set()
        self.may_start.wait(60)
        self.done.append("started")

    def stop(self) -> None:
        """Record the stop."""
        self.done.append("stopped")

    def next_batch(self, timeout: float) -> None:
        """Return no batch."""


class Server:
    """Does nothing."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


class Host(FaustHost):
    """Hosts a worker with a slow runtime, whose startup checks end when the test lets them."""

    def __init__(self) -> None:
        self.slow = SlowRuntime()
        self.checking = threading.Event()
        self.checked = threading.Event()
        super().__init__(build=self._check, put=lambda _: asyncio.sleep(0))

    def _check(self) -> HostedWorker:
        self.checking.set()
        self.checked.wait(60)
        return HostedWorker(
            runtime=cast("WorkerRuntime", self.slow),
            process=lambda _: None,
            server=cast("HttpServer", Server()),
            health=Health(SystemClock(), conditions=("group",)),
            call_deadline_seconds=60.0,
            on_failure=_raise,
            on_stopped=lambda: None,
        )


def _raise(error: BaseException) -> NoReturn:
    raise error


async def test_a_stop_during_the_startup_checks_ends_the_process_with_status_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for no broker, and reports no error."""
    statuses: list[int] = []

    def end(status: int) -> NoReturn:
        statuses.append(status)
        raise Exited

    monkeypatch.setattr(os, "_exit", end)
    host = Host()
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
    host = Host()
    host.checked.set()
    start = asyncio.create_task(host.on_start())
    await asyncio.to_thread(host.slow.starting.wait, 60)
    stop = asyncio.create_task(host.on_stop())
    await asyncio.sleep(0)
    host.slow.may_start.set()
    await stop
    await start
    assert host.slow.done == ["started", "stopped"]


def test_a_worker_without_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust would create folders below it: none is needed, wherever the file system is read-only or not ours."""
    tried: list[object] = []

    def refused(*arguments: object, **_: object) -> NoReturn:
        tried.append(arguments)
        raise PermissionError("read-only file system")

    monkeypatch.setattr(tempfile, "gettempdir", refused)
    monkeypatch.setattr(Path, "mkdir", refused)

    async def start() -> None:
        await faust_app("flights", cast("Callable[[], HostedWorker]", refused)).on_first_start()

    asyncio.run(start())
    assert tried == []
