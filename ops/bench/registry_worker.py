"""Compares a worker with a schema registry to one without: ``python -m ops.bench.registry_worker``.

Whole workers on a real Kafka, in turns: without a registry, with one writer schema, and with five mixed at random. The
registry is a small server in this process, which a worker asks once for each id. Medians of the rounds.
"""

import argparse
import json
import shutil
import statistics
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from ops.bench.benchmark_run import BenchEnvironment, BenchmarkRun, Reporter, prepared_run
from ops.bench.contenders import NOTHING, Contender
from ops.bench.jobs import Flights, ReplayedRange
from ops.bench.rates import MeasuredRun
from ops.bench.registry_events import rewritten, writers
from surgetank.codec.wire import FRAME_BYTES, frame
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import temporary_cluster
from surgetank.settings import KafkaSettings

HOME = Path(".surgetank") / "bench-registry"


@dataclass(frozen=True, slots=True)
class FlightsOfWriters(Flights):
    """The recorded flights at boarding, with the ids of a registry: by one writer, or by five at random."""

    mixed: bool = False

    def stretches(self, count: int) -> Iterator[ReplayedRange]:
        """Yield the flights, repeatedly."""
        for each in Flights().stretches(count):
            values = (
                rewritten(each.values) if self.mixed else [frame(101) + value[FRAME_BYTES:] for value in each.values]
            )
            yield ReplayedRange(each.keys, values, None)


@contextmanager
def served_registry() -> Iterator[str]:
    """Serve the writers' schemas by id, and no subject; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.partition("?")[0].rpartition("/")[2])
            self._answer(200, {"schema": json.dumps(writers()[number])})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(404, {"error_code": 40401, "message": "Subject not found"})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def measured(target: BenchEnvironment, events: int, rounds: int, url: str) -> dict[str, list[MeasuredRun]]:
    """Return the runs of each kind of worker, which take turns."""
    with_registry = {
        "SURGETANK_SCHEMA_REGISTRY__URL": url,
        "SURGETANK_STATE__DIRECTORY": str((target.home / "state").absolute()),
    }
    jobs: dict[str, tuple[Flights, Mapping[str, str]]] = {
        "without": (Flights(), NOTHING),
        "one writer": (FlightsOfWriters(), with_registry),
        "five writers": (FlightsOfWriters(mixed=True), with_registry),
    }
    found: dict[str, list[MeasuredRun]] = {name: [] for name in jobs}
    with ExitStack() as topics:
        runs: dict[str, tuple[BenchmarkRun, Contender, Mapping[str, str]]] = {}
        for name, (work, environment) in jobs.items():
            key = name.replace(" ", "_")
            contender = Contender(key, name, "exactly once", "ops.bench.surgetank_worker", events, {})
            runs[name] = topics.enter_context(prepared_run(target, work, events)), contender, environment
        for number in range(rounds):
            for name in jobs if number % 2 == 0 else reversed(jobs):
                run, contender, environment = runs[name]
                each, _ = run.run(contender, environment=environment)
                found[name].append(each)
                target.reporter.say(
                    f"{name}, round {number + 1}: {each.events_per_second:,.0f}/s, "
                    f"{each.events_per_cpu_second:,.0f} per CPU second"
                )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="Events of a run.")
    parser.add_argument("--rounds", type=int, default=3, help="Runs of each kind.")
    arguments = parser.parse_args()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with temporary_cluster(HOME / "kafka", 1) as cluster, served_registry() as url:
        kafka = KafkaSettings(bootstrap=cluster.bootstrap)
        broker = psutil.Process(cluster.status()[0].pid)
        target = BenchEnvironment(kafka, clients.admin(kafka), HOME, broker, Reporter(print, lambda _: None))
        found = measured(target, arguments.events, arguments.rounds, url)
    _print("events/s", {name: [each.events_per_second for each in runs] for name, runs in found.items()})
    _print(
        "events per CPU second", {name: [each.events_per_cpu_second for each in runs] for name, runs in found.items()}
    )


def _print(unit: str, found: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(each) for name, each in found.items()}
    for name, median in medians.items():
        print(f"{name}: {median:,.0f} {unit}, {median / medians['without']:.3f} of without")


if __name__ == "__main__":
    main()
