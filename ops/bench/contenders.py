"""Starts each contender and measures its progress."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka.admin import AdminClient

from ops.bench.backlog import PARTITIONS, ends
from ops.bench.contender_args import ContenderArgs
from ops.bench.job import ROOT
from ops.bench.rates import ProgressSample
from surgetank.errors import SurgetankError
from surgetank.kafka.topic_reader import CommittedOffsets
from surgetank.settings import KafkaSettings

LOOK_SECONDS = 0.1
START_SECONDS = 60.0
STALL_SECONDS = 30.0
STOP_SECONDS = 20.0
NOTHING: Mapping[str, str] = {}
# A contender in an environment of its own has the libraries only; it finds this package and the engine here.
SOURCES = os.pathsep.join([str(ROOT), str(ROOT / "pipeline")])


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the compared programs. ``events``: the number of events that it scores in a run, warm-up included."""

    key: str
    title: str
    guarantee: str
    module: str
    events: int
    settings: dict[str, Any]
    python: Path = Path(sys.executable)
    partitions: int = PARTITIONS

    def progress(self, admin: AdminClient, job: ContenderArgs) -> int | None:
        """Return the number of scores visible to a read_committed reader; None if no broker answers."""
        if self.guarantee != "exactly once":
            return ends(admin, job.scores, self.partitions)
        # The end offsets of its scores count markers too. Its offsets are committed with its scores, in one
        # transaction.
        return _committed(job).total(timeout=5.0)


@lru_cache(maxsize=1)
def _committed(job: ContenderArgs) -> CommittedOffsets:
    """Return the reader of a job's committed offsets; the same object while the job is the same."""
    return CommittedOffsets(KafkaSettings(bootstrap=job.bootstrap), job.name, job.events)


@contextlib.contextmanager
def running(
    contender: Contender, job: ContenderArgs, log: Path, environment: Mapping[str, str] = NOTHING
) -> Iterator[psutil.Popen]:
    """Run a contender as a process; stop it at the end in any case."""
    arguments = job.arguments
    with module_process(contender.module, arguments, log, python=contender.python, environment=environment) as process:
        yield process


@contextlib.contextmanager
def module_process(
    module: str,
    arguments: list[str],
    log: Path,
    *,
    python: Path = Path(sys.executable),
    environment: Mapping[str, str] = NOTHING,
) -> Iterator[psutil.Popen]:
    """Run a module of this project as a process; its output goes to ``log``."""
    with log.open("wb") as out:
        process = psutil.Popen(
            [str(python), "-m", module, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": SOURCES, "PYTHONWARNINGS": "ignore", **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C goes to the benchmark, which stops its processes
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                process.kill()
                process.wait()


def watch(
    contender: Contender,
    job: ContenderArgs,
    admin: AdminClient,
    process: psutil.Popen,
    log: Path,
    *,
    until: int,
    broker: psutil.Process | None,
    on_sample: Callable[[ProgressSample], None] = lambda _: None,
) -> list[ProgressSample]:
    """Sample the process until it has written this many scores; return all samples.

    Raises SurgetankError, with the end of its log, if it ends or stops making progress before.
    """
    samples: list[ProgressSample] = []
    done, moved = 0, time.monotonic()
    while done < until:
        now = contender.progress(admin, job)
        at = time.monotonic()
        if process.poll() is not None:
            raise SurgetankError(f"{contender.title} ended; its log {log} ends:\n{tail(log)}")
        if now is not None:
            if now > done:
                done, moved = now, at
            sample = ProgressSample(at, done, cpu_seconds(process), cpu_seconds(broker) if broker else 0.0)
            samples.append(sample)
            on_sample(sample)
        if at - moved > (STALL_SECONDS if done else START_SECONDS):
            raise SurgetankError(
                f"{contender.title} stands at {done:,} of {until:,} scores; its log {log} ends:\n{tail(log)}"
            )
        time.sleep(LOOK_SECONDS)
    return samples


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds used by all threads of a process."""
    times = process.cpu_times()
    return float(times.user + times.system)


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def readable(settings: dict[str, Any]) -> str:
    """Return settings on one line."""
    return "  ".join(
        f"{name}={json.dumps(value) if not isinstance(value, str) else value}" for name, value in settings.items()
    )
