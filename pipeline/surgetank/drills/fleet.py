"""Worker processes of one pipeline on this machine, for drills that start, stop and kill them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from surgetank.clock import Clock, SystemClock
from surgetank.errors import SurgetankError
from surgetank.http.http_get import answer
from surgetank.kafka.local.broker import free_ports
from surgetank.telemetry.exposition_parser import sample_total

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
_CHECK_SECONDS = 0.05


@dataclass(slots=True)
class Member:
    """A worker process."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    paused: bool = False
    reported: bool = False

    @property
    def running(self) -> bool:
        """Whether the process exists, paused or not."""
        return self.process.poll() is None

    def ask(self, path: str, timeout: float = 1.0) -> str | None:
        """Return the body of the worker's HTTP response; None unless its status is 200."""
        return answer(f"http://127.0.0.1:{self.port}{path}", timeout)

    @property
    def ready(self) -> bool:
        """Whether the worker reports readiness."""
        return self.running and not self.paused and self.ask("/ready") is not None

    def total(self, metric: str, **labels: str) -> float:
        """Return a metric of the worker, summed over the series with these labels; 0 if the worker does not answer."""
        return sample_total(self.ask("/metrics") or "", metric, **labels)

    @property
    def partitions(self) -> int:
        """The number of tasks that the worker runs."""
        return round(self.total("surgetank_tasks", state="running"))


class Fleet:
    """Starts workers of a topology as processes, and stops all of them in the end.

    ``options`` are further arguments of each, ``settings`` are passed as ``--set``. Logs go to one file per process in
    ``folder``. ``project`` is the folder of their project; default: the current one.
    """

    def __init__(
        self,
        topology: str,
        *,
        bootstrap: str,
        folder: Path,
        settings: dict[str, Any] | None = None,
        options: Sequence[str] = (),
        project: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._topology = topology
        self._project = project
        self._bootstrap = bootstrap
        self._folder = folder
        # A state folder of its own keeps the state of a drill apart, whatever the name of the pipeline.
        self._settings = {"state.directory": (folder / "state").absolute()} | (settings or {})
        self._options = tuple(options)
        self._clock = clock or SystemClock()
        self._count = 0
        self.members: dict[str, Member] = {}

    def start(self, environment: dict[str, str] | None = None, name: str = "") -> Member:
        """Start a worker and return without waiting for readiness. With a known ``name`` it reuses its local state."""
        self._count += 1
        name = name or f"w{self._count}-{os.urandom(3).hex()}"
        port = free_ports(1)
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / f"{name}.{self._count}.log"
        command = [sys.executable, "-m", "surgetank.cli", "worker", self._topology]
        command += ["--bootstrap", self._bootstrap, "--name", name, "--port", str(port), *self._options]
        for dotted, value in self._settings.items():
            command += ["--set", f"{dotted}={value}"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._project,
                start_new_session=True,  # Ctrl-C goes to the drill only, which stops its workers
                env=os.environ | (environment or {}),
            )
        member = Member(name, process, port, log)
        self.members[name] = member
        return member

    def wait_ready(self, member: Member, deadline_seconds: float = READY_SECONDS) -> float:
        """Wait until the worker is ready; return the seconds. Raises SurgetankError with the end of its log."""
        started = self._clock.monotonic()
        while not member.ready:
            self.check_running(member)
            if self._clock.monotonic() - started > deadline_seconds:
                raise _with_log(member, f"is not ready after {deadline_seconds:.0f} s")
            time.sleep(_CHECK_SECONDS)
        return self._clock.monotonic() - started

    def check_running(self, member: Member) -> None:
        """Raise SurgetankError with the end of its log if a worker has ended."""
        if not member.running:
            raise _with_log(member, "ended")

    @property
    def running(self) -> list[Member]:
        """The workers that run and are not paused."""
        return [member for member in self.members.values() if member.running and not member.paused]

    def stop(self, member: Member) -> int:
        """Stop a worker with SIGTERM; return its exit code, -9 if it had to be killed after STOP_SECONDS."""
        self.resume(member)
        member.process.terminate()
        try:
            return member.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            member.process.kill()
            return member.process.wait()

    def kill(self, member: Member) -> None:
        """Kill a worker with SIGKILL."""
        member.process.kill()
        member.process.wait()

    def pause(self, member: Member) -> None:
        """Pause a worker with SIGSTOP."""
        member.process.send_signal(signal.SIGSTOP)
        member.paused = True

    def resume(self, member: Member) -> None:
        """Resume a paused worker with SIGCONT."""
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

    def __exit__(self, *_: object) -> None:
        self.close()


def _with_log(member: Member, state: str) -> SurgetankError:
    return SurgetankError(f"worker {member.name} {state}; its log {member.log} ends:\n{_tail(member.log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
