"""One broker process of a local cluster and its folder.

The folder holds server.properties, server.log, pid, and data/. The process has its own session: Ctrl-C at the terminal
does not reach it, and any later process can find and stop it through the folder.
"""

import contextlib
import os
import random
import socket
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from surgetank.errors import BrokerError, StartupError
from surgetank.kafka.local.jars import Kafka, last_lines

PORTS = range(20_000, 32_000, 10)
_LOG_BYTES_MAX = 32 * 1024 * 1024
# The kernel reports the boot time, to which start times are relative, in whole seconds.
_START_SECONDS = 2.0
# Starts fast and needs little memory and CPU; heap pages are touched on use.
_FLAGS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")
_QUICK = "-XX:TieredStopAtLevel=1"


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker: its node id, its folder, and its ports."""

    id: int
    folder: Path
    ports: tuple[int, int]

    @property
    def properties(self) -> Path:
        """The properties file of the broker; the process is recognised by its path."""
        return self.folder / "server.properties"

    @property
    def log(self) -> Path:
        """The broker's log file."""
        return self.folder / "server.log"

    @property
    def process(self) -> psutil.Process | None:
        """The running process, or None.

        A pid may be stale and reused. So the process must also have the recorded start time or, because start times
        shift when the wall clock is set, this broker's properties file on its command line.
        """
        try:
            pid, started = (self.folder / "pid").read_text().split()
            process = psutil.Process(int(pid))
            same_start = abs(process.create_time() - float(started)) < _START_SECONDS
            mine = same_start or str(self.properties) in process.cmdline()
            mine = mine and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return process if mine else None

    def write(self, rendered: str) -> None:
        """Write the properties file, readable by its owner only: it may hold passwords."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.properties.touch(mode=0o600)
        self.properties.write_text(rendered, encoding="ascii")

    def format(self, kafka: Kafka, cluster_id: str) -> "subprocess.Popen[str] | None":
        """Start formatting an empty data folder; return None if it is formatted already."""
        if (self.folder / "data" / "meta.properties").exists():
            return None
        arguments = ("format", "--cluster-id", cluster_id, "--config", str(self.properties))
        # It runs for half a second; the optimising compiler would only delay it.
        flags = ("-XX:+UseSerialGC", _QUICK)
        return subprocess.Popen(
            kafka.command("kafka.tools.StorageTool", *arguments, flags=flags),
            cwd=self.folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def launch(self, kafka: Kafka, heap_mb: int, *, short_lived: bool = False) -> None:
        """Start the process without waiting until it is ready. Raises StartupError if a port is in use.

        ``short_lived``: compile with the quick compiler only.
        """
        for port in self.ports:
            check_free(port)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
        flags = jvm_flags(heap_mb, short_lived=short_lived)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                kafka.command("kafka.Kafka", str(self.properties), flags=flags),
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.folder / "pid").write_text(f"{child.pid} {psutil.Process(child.pid).create_time()}\n")

    def running(self) -> psutil.Process:
        """Return the running process. Raises BrokerError if there is none."""
        process = self.process
        if process is None:
            raise BrokerError(f"broker {self.id} in {self.folder} does not run; start it first")
        return process

    def pause(self) -> None:
        """Pause the process and wait until it is stopped."""
        process = self.running()
        process.suspend()
        while process.status() != psutil.STATUS_STOPPED:  # a signal takes effect after a moment
            time.sleep(0.001)

    def kill(self) -> None:
        """Kill the process and wait until it is gone."""
        process = self.process
        if process is not None:
            process.kill()
            process.wait()

    def last_lines(self, count: int = 12) -> str:
        """Return the end of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 16_384))
                return last_lines(log.read().decode(errors="replace"), count)
        except OSError:
            return "  (no log)"


def jvm_flags(heap_mb: int, *, short_lived: bool) -> tuple[str, ...]:
    """Return the JVM flags of a broker. A short-lived broker uses the quick compiler only."""
    return (f"-Xmx{heap_mb}m", *_FLAGS, *((_QUICK,) if short_lived else ()))


def stop_all(brokers: Sequence[Broker], deadline_seconds: float) -> list[Broker]:
    """Stop all brokers at once; return those that had to be killed at the deadline.

    At once, because in sequence the last brokers would wait for a majority of controllers that no longer exists.
    """
    processes = {process: broker for broker in brokers if (process := broker.process)}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # the process may end in between
            process.terminate()
            process.resume()  # a paused process would not handle the signal
    _, stubborn = psutil.wait_procs(list(processes), timeout=deadline_seconds)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn)
    return [processes[process] for process in stubborn]


def check_free(port: int) -> None:
    """Raise StartupError, which names the listening process if known, unless the port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StartupError(
                f"port {port} on 127.0.0.1 cannot be had ({error.strerror}), {_listener(port)}; "
                "stop that, or take other ports with --port"
            ) from None


_candidates = deque(random.sample(PORTS, len(PORTS)))


def choose_ports_from(ports: Sequence[int]) -> None:
    """Let ``free_ports`` return only these first ports. Processes that run side by side take different ones."""
    _candidates.clear()
    _candidates.extend(random.sample(ports, len(ports)))


def free_ports(count: int) -> int:
    """Return the first of ``count`` consecutive free ports, chosen at random. Raises StartupError if there are none.

    They are below the range of ephemeral ports, so that the port of a stopped broker stays free. Ports that were
    returned before, and may not be in use yet, come last.
    """
    for _ in range(len(_candidates)):
        first = _candidates.popleft()
        _candidates.append(first)
        try:
            for port in range(first, first + count):
                check_free(port)
        except StartupError:
            continue
        return first
    raise StartupError(f"no {count} free ports in a row from {PORTS.start} to {PORTS.stop} on 127.0.0.1")


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                process = psutil.Process(connection.pid)
                return f"process {process.pid} listens there ({' '.join(process.cmdline())[-120:]})"
    except (psutil.Error, OSError, TypeError):
        pass
    return "by whom is not known"


def _environment() -> Mapping[str, str]:
    # In the C locale a JVM cannot open paths with characters beyond ASCII.
    return os.environ | {"LC_ALL": "C.UTF-8"}
