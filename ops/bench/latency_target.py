"""Batches that hold a latency target, beside constant sizes: ``python -m ops.bench.latency_target``, some minutes.

A real worker on a real Kafka, with the fast flights model and with a slow one (2 ms a row). For each: the throughput of
some constant batch sizes and with a target, from a backlog; then the latency at 70 % of the best throughput, from the
intended send time of an event to the reader of its score. The latency of a few events is the least that the
transactions of this machine allow; it is measured first.
"""

import argparse
import contextlib
import json
import shutil
import socket
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.bench import latency
from ops.bench.benchmark_run import BenchEnvironment, Reporter, prepared_run
from ops.bench.contenders import Contender
from ops.bench.jobs import Flights
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import temporary_cluster
from surgetank.settings import KafkaSettings

ROWS_VARIABLE = "SURGETANK_WORKER__BATCH_ROWS_MAX"
TARGET_VARIABLE = "SURGETANK_MODEL__LATENCY_TARGET_SECONDS"
PORT_VARIABLE = "SURGETANK_TELEMETRY__PORT"
TARGETS_MS = (25, 50, 100)
LOAD = 0.7
FEW = 50.0  # events per second: each is a batch by itself


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """A model: the worker that serves it, how many events its backlog has, and the constant sizes to try."""

    name: str
    module: str
    events: int
    sizes: tuple[int, ...]


MODELS = (
    MeasuredModel("fast", "ops.bench.surgetank_worker", 1_500_000, (1024, 4096, 8192)),
    MeasuredModel("slow", "ops.bench.slow_worker", 5_000, (4, 16, 64, 256)),
)


def measured(model: MeasuredModel, target: BenchEnvironment, seconds: float) -> dict[str, Any]:
    """Return the figures of a model: rates in events per second, latencies in milliseconds."""
    contender = Contender(model.name, f"{model.name} model", "exactly once", model.module, model.events, {})

    def latencies(rate: float, environment: Mapping[str, str]) -> dict[str, Any]:
        target.reporter.doing(f"{model.name} model: latency at {rate:,.0f}/s, {dict(environment)}")
        with _watched_sizes() as (port, sizes):
            (found,) = latency.measure(
                contender,
                target.kafka,
                target.admin,
                [latency.Load(rate, seconds)],
                Flights(),
                target.home,
                {**environment, PORT_VARIABLE: str(port)},
            )
        shown = {name: found[name] for name in ("p50", "p99", "max", "achieved_rate", "worker_cpu_share")}
        return shown | {"sizes": dict(sizes)}

    few = latencies(FEW, {})
    rates: dict[str, float] = {}
    with prepared_run(target, Flights(), model.events) as run:
        for name, environment in {**_constant(model.sizes), **_targets((50,))}.items():
            target.reporter.doing(f"{model.name} model: throughput with {name}")
            rates[name] = run.run(contender, environment=environment)[0].events_per_second
            target.reporter.say(f"{model.name} model, {name:<16} {rates[name]:>10,.0f}/s")
    constant = {name: rate for name, rate in rates.items() if name in _constant(model.sizes)}
    best = max(constant, key=lambda name: constant[name])
    rate = LOAD * constant[best]
    at_load = {}
    for name, environment in {best: _constant(model.sizes)[best], **_targets(TARGETS_MS)}.items():
        at_load[name] = latencies(rate, environment)
        target.reporter.say(
            f"{model.name} model, {name:<16} at {rate:,.0f}/s: p50 {at_load[name]['p50']} ms, "
            f"p99 {at_load[name]['p99']} ms"
        )
    return {
        "few_events_ms": few,
        "events_per_second": rates,
        "throughput_ratio": round(rates["target 50 ms"] / constant[best], 3),
        "load": round(rate, 1),
        "latency_ms": at_load,
    }


@contextlib.contextmanager
def _watched_sizes() -> Iterator[tuple[int, dict[str, float]]]:
    """Return a free port, and the metrics of the batch sizes that a worker shows there, as of its last second."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    sizes: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
                for line in page.read().decode().splitlines():
                    if line.startswith(("surgetank_batch_", "surgetank_latency_")) and not line.endswith(" 0.0"):
                        name, _, value = line.rpartition(" ")
                        sizes[name.removeprefix("surgetank_")] = float(value)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield port, sizes
    finally:
        done.set()
        watching.join()


def _constant(sizes: tuple[int, ...]) -> dict[str, dict[str, str]]:
    return {f"{size} rows": {ROWS_VARIABLE: str(size)} for size in sizes}


def _targets(milliseconds: tuple[int, ...]) -> dict[str, dict[str, str]]:
    return {f"target {each} ms": {TARGET_VARIABLE: str(each / 1000)} for each in milliseconds}


def main() -> None:
    """Parse the command line, measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=[each.name for each in MODELS], help="measure this one only")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement of latency")
    parser.add_argument("--report", type=Path, default=Path("latency-target.json"), help="where to write the figures")
    arguments = parser.parse_args()
    home = Path(".surgetank") / "latency-target"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    reporter = Reporter(say=_say, doing=lambda _: None)
    found = {}
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(temporary_cluster(home / "kafka", 1))
        kafka = KafkaSettings(bootstrap=cluster.bootstrap)
        target = BenchEnvironment(kafka, clients.admin(kafka), home, None, reporter)
        for model in MODELS:
            if arguments.model in {None, model.name}:
                found[model.name] = measured(model, target, arguments.seconds)
    arguments.report.write_text(json.dumps(found, indent=2) + "\n")
    _say(json.dumps(found, indent=2))


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
