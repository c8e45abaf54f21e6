"""End-to-end latency: from the intended send time of an event to the reader of its score, at set rates.

One process of a contender is measured at several rates, one after the other. Sender, contender, reader and broker share
the machine. The results include the events that the sender did not send in time.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from confluent_kafka.admin import AdminClient

from ops.bench import arrivals, sender
from ops.bench.backlog import PARTITIONS, ends, make_topics, remove_topics_of
from ops.bench.benchmark_run import topics_of
from ops.bench.contender_args import ContenderArgs
from ops.bench.contenders import NOTHING, Contender, cpu_seconds, module_process, running, tail
from ops.bench.jobs import Workload
from surgetank.errors import SurgetankError
from surgetank.settings import KafkaSettings

WARM_UP_SECONDS = 2.0
START_SECONDS = 60.0
DRAIN_SECONDS = 10.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Load:
    """Send at ``rate`` for ``seconds``; the first ``WARM_UP_SECONDS`` are not measured."""

    rate: float
    seconds: float

    @property
    def counted(self) -> float:
        """The number of measured seconds."""
        return self.seconds - WARM_UP_SECONDS


def figures(due_ms: Floats, took_ms: Floats, *, begin_ms: float, end_ms: float) -> dict[str, Any]:
    """Return count and percentiles of the scores whose events were due from ``begin_ms`` on, before ``end_ms``."""
    took = took_ms[(due_ms >= begin_ms) & (due_ms < end_ms)]
    if not len(took):
        return {"count": 0, "p50": None, "p99": None, "p999": None, "max": None}
    p50, p99, p999 = (round(float(value), 1) for value in np.percentile(took, [50, 99, 99.9]))
    return {"count": len(took), "p50": p50, "p99": p99, "p999": p999, "max": round(float(took.max()), 1)}


def measure(
    contender: Contender,
    kafka: KafkaSettings,
    admin: AdminClient,
    loads: Sequence[Load],
    work: Workload,
    folder: Path,
    environment: Mapping[str, str] = NOTHING,
) -> list[dict[str, Any]]:
    """Run a contender under each load in turn, on its own topics; return the results of each, in milliseconds.

    ``environment``: further environment variables of the contender.

    Raises SurgetankError if it does not start, or if the sender or the reader fails.
    """
    name = f"bench-{contender.key.replace('_', '-')}-{time.time_ns()}"
    job = ContenderArgs(
        kafka.bootstrap, name, f"{name}.events", f"{name}.scores", f"{name}.cards.changelog", str(folder / name)
    )
    logs = {part: folder / f"{name}.{part}.log" for part in ("worker", "sender", "reader")}
    found = folder / f"{name}.npz"
    results: list[dict[str, Any]] = []
    starts: list[float] = []
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, job.folder, ignore_errors=True)
        stack.callback(remove_topics_of, kafka, name)
        make_topics(kafka, [job.events, *topics_of(job, work)])
        worker = stack.enter_context(running(contender, job, logs["worker"], environment))
        _greet(contender, job, admin, work, worker, logs["worker"])
        read = module_process("ops.bench.arrivals", [kafka.bootstrap, job.scores, str(found)], logs["reader"])
        with read as reader:
            for load in loads:
                cpu, reading = cpu_seconds(worker), cpu_seconds(reader)
                sent = _send(kafka, job.events, load, work, logs["sender"])
                results.append(
                    {
                        "intended_rate": sent["intended_rate"],
                        "achieved_rate": sent["achieved_rate"],
                        "sender_late_ms": sent["late_ms"],
                        "sender_cpu_share": round(sent["cpu_seconds"] / load.seconds, 2),
                        "worker_cpu_share": round((cpu_seconds(worker) - cpu) / load.seconds, 2),
                        "reader_cpu_share": round((cpu_seconds(reader) - reading) / load.seconds, 2),
                        "expected": round(load.rate * load.counted * len(arrivals.PARTITIONS) / PARTITIONS),
                    }
                )
                starts.append(sent["start"])
                _drain(contender, job, admin, sent["sent"])
            reader.terminate()
            reader.wait()
    if not found.exists():
        raise SurgetankError(f"the reader of scores failed; its log {logs['reader']} ends:\n{tail(logs['reader'])}")
    with np.load(found) as arrived:
        due, took = arrived["due_ms"], arrived["took_ms"]
    ends_ms = [(start + load.seconds) * 1000 for start, load in zip(starts, loads, strict=True)]
    return [
        result | figures(due, took, begin_ms=end - load.counted * 1000, end_ms=end)
        for result, load, end in zip(results, loads, ends_ms, strict=True)
    ]


def _greet(
    contender: Contender, job: ContenderArgs, admin: AdminClient, work: Workload, worker: psutil.Popen, log: Path
) -> None:
    """Send some events and wait for their scores, which shows that the contender is ready."""
    kafka = KafkaSettings(bootstrap=job.bootstrap)
    sent = _send(kafka, job.events, Load(200, 1), work, log.with_name(f"{job.name}.greeting.log"))
    give_up = time.monotonic() + START_SECONDS
    while (contender.progress(admin, job) or 0) < sent["sent"]:
        if worker.poll() is not None or time.monotonic() > give_up:
            raise SurgetankError(f"{contender.title} does not score; its log {log} ends:\n{tail(log)}")
        time.sleep(0.1)


def _send(kafka: KafkaSettings, topic: str, load: Load, work: Workload, log: Path) -> dict[str, Any]:
    arguments = [kafka.bootstrap, topic, str(load.rate), str(load.seconds), work.name]
    with module_process(sender.__name__, arguments, log) as process:
        process.wait()
    try:
        report: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    except (IndexError, ValueError):
        raise SurgetankError(f"the sender failed; its log {log} ends:\n{tail(log)}") from None
    return report


def _drain(contender: Contender, job: ContenderArgs, admin: AdminClient, sent: int) -> None:
    """Wait for the scores of all sent events, for a limited time: an excessive load would never end."""
    all_of_it = (ends(admin, job.events) or 0) or sent
    give_up = time.monotonic() + DRAIN_SECONDS
    while (contender.progress(admin, job) or 0) < all_of_it and time.monotonic() < give_up:
        time.sleep(0.1)
    time.sleep(0.5)  # the reader receives the last visible scores
