"""Worker processes of one pipeline on this machine, started, stopped and hurt by a drill."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.clock import Clock, SystemClock
from pipeline.errors import SurgetankError
from pipeline.http.http_get import answer
from pipeline.kafka.local.broker import free_ports
from pipeline.telemetry.exposition_parser import sample_total


@dataclass(slots=True)
class Member:
    """One worker process."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    paused: bool = False
    reported: bool = False

    @property
    def running(self) -> bool:
        """Whether the process lives, paused or not."""
        return self.process.poll() is None

    def ask(self, path: str, timeout: float = 1.0) -> str | None:
        """Return what the worker answers over HTTP with status 200; None if it does not."""
        return answer(f"http://127.0.0.1:{self.port}{path}", timeout)

    @property
    def ready(self) -> bool:
        """Whether the worker says it is."""
        return self.running and not self.paused and self.ask("/ready") is not None

    def total(self, metric: str, **labels: str) -> float:
        """Return a metric of the worker, summed over those of its series that have these labels; 0 if it is silent."""
        return sample_total(self.ask("/metrics") or "", metric, **labels)

    @property
    def partitions(self) -> int:
        """How many tasks the worker runs."""
        return round(self.total("surgetank_tasks", state="running"))


class Fleet:
    """Starts workers of a topology as processes; leaves none behind.

    ``settings`` are passed to each as ``--set``. Logs go to one file per process in ``folder``.
    """

    def __init__(
        self,
        topology: str,
        *,
        bootstrap: str,
        folder: Path,
        settings: dict[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._topology = topology
        self._bootstrap = bootstrap
        self._folder = folder
        # The state of a drill is nobody else's, however its pipeline is named.
        self._settings = {"state.directory": (folder / "state").absolute()} | (settings or {})
        self._clock = clock or SystemClock()
        self._count = 0
        self.members: dict[str, Member] = {}

    def start(self, environment: dict[str, str] | None = None, name: str = "") -> Member:
        """Start one more worker; it is not ready yet when this returns. With a ``name`` it comes back to its disk."""
        self._count += 1
        name = name or f"w{self._count}-{os.urandom(3).hex()}"
        port = free_ports(1)
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / f"{name}.{self._count}.log"
        command = [sys.executable, "-m", "pipeline.cli", "worker", self._topology]
        command += ["--bootstrap", self._bootstrap, "--name", name, "--port", str(port)]
        for dotted, value in self._settings.items():
            command += ["--set", f"{dotted}={value}"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal is for the drill, which stops its workers itself
                env=os.environ | (environment or {}),
            )
        member = Member(name, process, port, log)
        self.members[name] = member
        return member

    def wait_ready(self, member: Member, timeout: float = 60.0) -> float:
        """Wait until the worker is ready; return the seconds. Raises SurgetankError, with its last words, if not."""
        started = self._clock.monotonic()
        pause = _Pause()
        while not member.ready:
            if not member.running or self._clock.monotonic() - started > timeout:
                state = "ended" if not member.running else f"is not ready after {timeout:.0f} s"
                raise SurgetankError(f"worker {member.name} {state}; its log {member.log} ends:\n{_tail(member.log)}")
            pause.wait()
        return self._clock.monotonic() - started

    @property
    def running(self) -> list[Member]:
        """The workers that live and are not paused."""
        return [member for member in self.members.values() if member.running and not member.paused]

    def stop(self, member: Member, timeout: float = 30.0) -> int:
        """Stop a worker by SIGTERM; return its exit code. One that does not end in time is killed (-9)."""
        self.resume(member)
        member.process.terminate()
        try:
            return member.process.wait(timeout)
        except subprocess.TimeoutExpired:
            member.process.kill()
            return member.process.wait()

    def kill(self, member: Member) -> None:
        """Kill a worker by SIGKILL."""
        member.process.kill()
        member.process.wait()

    def pause(self, member: Member) -> None:
        """Stop a worker's clock: SIGSTOP."""
        member.process.send_signal(signal.SIGSTOP)
        member.paused = True

    def resume(self, member: Member) -> None:
        """Let a paused worker go on: SIGCONT."""
        if member.paused and member.running:
            member.process.send_signal(signal.SIGCONT)
        member.paused = False

    def close(self) -> None:
        """Stop every worker."""
        living = [member for member in self.members.values() if member.running]
        for member in living:
            self.resume(member)
            member.process.terminate()
        for member in living:
            self.stop(member)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pause:
    """Waits between looks at another process, which cannot wake us."""

    def __init__(self, seconds: float = 0.05) -> None:
        self._seconds = seconds
        self._never = threading.Event()

    def wait(self) -> None:
        self._never.wait(self._seconds)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def dumped(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON, a line per entry."""
    path.write_text(json.dumps(report, indent=2) + "\n")
