"""Measures the CPU time of the parts of a batch inside a contender. Needs the standard library and psutil only.

The benchmark starts a contender with the environment variable ``BENCH_CPU_PARTS`` set to a file. A thread of the
contender then appends a line of JSON five times a second; ``ops.bench.cpu_breakdown`` compares two of these lines.
Without the variable nothing is measured.
"""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

VARIABLE = "BENCH_CPU_PARTS"
INTERVAL_SECONDS = 0.2


class CpuParts:
    """Sums CPU seconds by thread and part. Each thread calls it for its own work only."""

    def __init__(self, file: Path | None) -> None:
        self.enabled = file is not None
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._events = 0
        self._last = 0.0
        if file is not None:
            threading.Thread(target=self._report, args=(file,), name="cpu parts", daemon=True).start()

    def start(self) -> None:
        """Start a part in the calling thread, which must be the only one that calls ``start`` and ``end``."""
        if self.enabled:
            self._last = time.thread_time()

    def end(self, part: str) -> None:
        """Add the CPU time of the calling thread since the last ``start`` or ``end`` to a part; start the next one."""
        if self.enabled:
            now = time.thread_time()
            self._seconds[threading.current_thread().name, part] += now - self._last
            self._last = now

    def count(self, events: int) -> None:
        """Count processed events."""
        self._events += events

    def wrap(self, owner: Any, name: str, part: str, events: Callable[..., int] | None = None) -> None:
        """Replace a method of a class by one that adds its CPU time to a part.

        ``events`` returns the number of processed events from the arguments of a call. The method must not call another
        wrapped one, whose time would count twice. Raises AttributeError if there is no such method.
        """
        method = getattr(owner, name)

        def measured(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return method(*arguments, **options)
            finally:
                self._seconds[threading.current_thread().name, part] += time.thread_time() - began
                if events is not None:
                    self._events += events(*arguments, **options)

        setattr(owner, name, measured)

    def _report(self, file: Path) -> None:
        process = psutil.Process()
        never = threading.Event()
        with file.open("a") as out:
            while not never.wait(INTERVAL_SECONDS):
                out.write(json.dumps(self._look(process)) + "\n")
                out.flush()

    def _look(self, process: psutil.Process) -> dict[str, Any]:
        used = {each.id: each.user_time + each.system_time for each in process.threads()}
        times = process.cpu_times()
        threads: dict[str, float] = defaultdict(float)
        for thread in threading.enumerate():
            threads[thread.name] += used.get(thread.native_id or 0, 0.0)
        parts: dict[str, dict[str, float]] = defaultdict(dict)
        for (thread_name, part), seconds in list(self._seconds.items()):
            parts[thread_name][part] = seconds
        return {"events": self._events, "process": times.user + times.system, "threads": threads, "parts": parts}


def from_environment() -> CpuParts:
    """Return the measurement of this process; it is off unless the benchmark turned it on."""
    file = os.environ.get(VARIABLE)
    return CpuParts(Path(file) if file else None)
