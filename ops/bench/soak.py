"""Measures the memory of a worker: under a backlog of millions, then for minutes at half of its capacity.

``python -m ops.bench.soak`` prints a line a minute and writes ``soak.json``. Starts and stops its own Kafka.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from confluent_kafka.admin import AdminClient, NewTopic

from ops.bench.backlog import PARTITIONS, ends, fill
from ops.bench.contender_args import ContenderArgs
from ops.bench.contenders import module_process, tail
from ops.bench.job import Avro
from ops.bench.jobs import Flights
from surgetank.errors import SurgetankError
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import temporary_cluster
from surgetank.kafka.topic_reader import CommittedOffsets
from surgetank.settings import KafkaSettings

MIB = 1 << 20
LOOK_SECONDS = 1.0
WARM_MINUTES = 3.0
POOL = 65_536
TICK_SECONDS = 0.002
# Enough that no event is deleted before it is scored, and that ten minutes fit on a disk.
KEPT_BYTES = {"events": 640 * MIB, "scores": 128 * MIB, "dead-letters": 16 * MIB}

Memory = list[tuple[float, float]]  # seconds, MiB


def growth(memory: Sequence[tuple[float, float]], after_minutes: float) -> float:
    """Return the slope, in MiB per minute, of the regression line through the samples after this many minutes. Pure.

    ``memory`` holds seconds since the start and MiB. Raises ValueError for fewer than two samples.
    """
    late = [(at / 60, mib) for at, mib in memory if at >= after_minutes * 60]
    if len(late) < 2:
        raise ValueError(f"{len(late)} looks after {after_minutes:g} minutes are too few for a slope")
    minutes, mib = np.array(late).T
    return float(np.polyfit(minutes, mib, 1)[0])


def send(bootstrap: str, topic: str, rate: str, seconds: str) -> None:
    """Send the same events repeatedly at a rate, for ``seconds``: they are not counted here."""
    job = Flights()
    columns, keys = job.pool(POOL)
    values = Avro(job.schema).encode(columns)
    producer = clients.producer(
        KafkaSettings(bootstrap=bootstrap), partitioner="murmur2_random", delivery_report_only_error=True
    )
    start, sent = time.monotonic(), 0
    while (passed := time.monotonic() - start) < float(seconds):
        for number in range(sent, round(passed * float(rate))):
            with contextlib.suppress(BufferError):  # then the brokers limit the rate
                producer.produce(topic, values[number % POOL], keys[number % POOL])
        sent = round(passed * float(rate))
        producer.poll(0)
        time.sleep(TICK_SECONDS)
    producer.flush(10)


def soak(backlog: int, minutes: float, share: float, home: Path) -> dict[str, Any]:
    """Let one worker drain a backlog, then work at ``share`` of that rate, and sample its memory."""
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(temporary_cluster(home / "kafka", 1))
        kafka = KafkaSettings(bootstrap=cluster.bootstrap)
        name = f"soak-{time.time_ns()}"
        job = ContenderArgs(kafka.bootstrap, name, f"{name}.events", f"{name}.scores")
        _make_topics(clients.admin(kafka), job)
        _say(f"putting {backlog:,} events on {job.events}")
        fill(kafka, job.events, Flights(), backlog)
        log = home / "worker.log"
        worker = stack.enter_context(module_process("ops.bench.surgetank_worker", job.arguments, log))
        committed = CommittedOffsets(kafka, job.name, job.events)
        memory, rate = _drained(worker, committed, backlog, log)
        peak = max(mib for _, mib in memory)
        _say(f"drained at {rate:,.0f} events/s; at most {peak:,.0f} MiB resident")
        arguments = ["send", kafka.bootstrap, job.events, str(rate * share), str(minutes * 60)]
        with module_process("ops.bench.soak", arguments, home / "sender.log") as sender:
            steady = _watched(worker, sender, log)
        if sender.returncode:
            raise SurgetankError(f"the sender failed; its log ends:\n{tail(home / 'sender.log')}")
        behind = (ends(clients.admin(kafka), job.events) or 0) - (committed.total(10) or 0)
    return {
        "backlog": backlog,
        "backlog_peak_mib": round(peak, 1),
        "drained_per_second": round(rate),
        "steady_per_second": round(rate * share),
        "minutes": minutes,
        "behind_at_the_end": behind,
        "growth_mib_per_minute": round(growth(steady, min(WARM_MINUTES, minutes / 3)), 3),
        "mib_by_minute": [round(mib, 1) for at, mib in steady if at % 60 < LOOK_SECONDS],
    }


def _make_topics(admin: AdminClient, job: ContenderArgs) -> None:
    topics = {"events": job.events, "scores": job.scores, "dead-letters": f"{job.name}.dead-letters"}
    new = [
        NewTopic(
            topic,
            PARTITIONS,
            config={"retention.bytes": str(KEPT_BYTES[kind]), "segment.bytes": str(64 * MIB)}
            # A worker requires a larger record limit for dead letters than for events.
            | ({"max.message.bytes": str(16 * MIB)} if kind == "dead-letters" else {}),
        )
        for kind, topic in topics.items()
    ]
    for made in admin.create_topics(new).values():
        made.result(30)


def _drained(worker: psutil.Popen, committed: CommittedOffsets, backlog: int, log: Path) -> tuple[Memory, float]:
    """Wait until the backlog is scored; return the samples and the rate in the middle of it."""
    begin, memory = time.monotonic(), []
    done: list[tuple[float, int]] = []
    while not done or done[-1][1] < backlog:
        _check_lives(worker, log)
        memory.append((time.monotonic() - begin, worker.memory_info().rss / MIB))
        if (total := committed.total(5)) is not None:
            done.append((time.monotonic(), total))
        time.sleep(LOOK_SECONDS)
    steady = [(at, total) for at, total in done if 0.1 * backlog < total < 0.9 * backlog]
    (first, at_first), (last, at_last) = steady[0], steady[-1]
    return memory, (at_last - at_first) / (last - first)


def _watched(worker: psutil.Popen, sender: psutil.Popen, log: Path) -> Memory:
    begin, memory = time.monotonic(), []
    while sender.poll() is None:
        _check_lives(worker, log)
        memory.append((time.monotonic() - begin, worker.memory_info().rss / MIB))
        if memory[-1][0] % 60 < LOOK_SECONDS:
            _say(f"{memory[-1][0] / 60:5.1f} min  {memory[-1][1]:7.1f} MiB")
        time.sleep(LOOK_SECONDS)
    return memory


def _check_lives(worker: psutil.Popen, log: Path) -> None:
    if worker.poll() is not None:
        raise SurgetankError(f"the worker ended; its log {log} ends:\n{tail(log)}")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """Parse the command line, run the measurement, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backlog", type=int, default=5_000_000, help="events that wait before the worker starts")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it then works at a share of its rate")
    parser.add_argument("--share", type=float, default=0.5, help="of the rate with which it drained the backlog")
    parser.add_argument("--report", type=Path, default=Path("soak.json"), help="where to write the figures")
    arguments = parser.parse_args()
    found = soak(arguments.backlog, arguments.minutes, arguments.share, Path(".surgetank") / "soak")
    arguments.report.write_text(json.dumps(found, indent=2) + "\n")
    _say(json.dumps(found, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(*sys.argv[2:])
    else:
        main()
