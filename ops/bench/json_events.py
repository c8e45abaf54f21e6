"""Compares the cost of an event in JSON with the same event in Avro: ``python -m ops.bench.json_events``.

First the decoders alone, in this process, then the whole worker on a real Kafka, one run after the other in turns. CPU
time of the process per event, of the flights at boarding; the median of the rounds.
"""

import argparse
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from ops.bench import cpu_breakdown, cpu_parts, worker_parts
from ops.bench.benchmark_run import BenchEnvironment, BenchmarkRun, Reporter, prepared_run
from ops.bench.contenders import Contender
from ops.bench.jobs import Flights, ReplayedRange, Workload
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.base import Deserializer
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import Format
from surgetank.drills.recording import Recording
from surgetank.drills.wire import encoder
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import temporary_cluster
from surgetank.records import RecordBatch, TopicPartition, large_binary
from surgetank.settings import KafkaSettings

HOME = Path(".surgetank") / "bench-json"
BATCH_ROWS = 4096
DECODED_ROWS = 40_960
VALUE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class JsonFlights(Flights):
    """The recorded flights at boarding, as JSON."""

    name: str = "flights-json"

    def stretches(self, count: int) -> Iterator[ReplayedRange]:
        """Yield the flights, repeatedly."""
        for chunk in _boarding_in("json").chunks(encoder(), count=count):
            yield ReplayedRange(chunk.keys, chunk.values, None)


def _boarding_in(form: Format) -> Recording:
    from topology.recordings.flights import recording

    boarding = recording().only("boarding")
    return replace(boarding, events=tuple(replace(each, format=form) for each in boarding.events))


def decode_nanoseconds(rounds: int) -> dict[Format, list[float]]:
    """Return the CPU time of decoding an event, in nanoseconds, by format and round; the formats take turns."""
    contracts = project_schemas()
    decoders: dict[Format, Deserializer] = {
        "avro": AvroDeserializer(contracts, "boarding", value_bytes_max=VALUE_BYTES_MAX),
        "json": JsonDeserializer(contracts, "boarding", value_bytes_max=VALUE_BYTES_MAX),
    }
    batches = {form: list(_batches(form)) for form in decoders}
    found: dict[Format, list[float]] = {form: [] for form in decoders}
    for number in range(rounds + 1):
        for form, decoder in decoders.items():
            began = time.process_time_ns()
            for batch in batches[form]:
                events, dead = decoder.deserialize(batch)
                assert len(events) == BATCH_ROWS
                assert not dead
            if number:  # the first round sizes the buffers
                found[form].append((time.process_time_ns() - began) / DECODED_ROWS)
    return found


def _batches(form: Format) -> Iterator[RecordBatch]:
    zeros = np.zeros(BATCH_ROWS, dtype=np.int64)
    for chunk in _boarding_in(form).chunks(encoder(), count=DECODED_ROWS, rows=BATCH_ROWS):
        yield RecordBatch(
            (TopicPartition("events", 0),),
            zeros.astype(np.int32),
            np.arange(BATCH_ROWS),
            zeros,
            large_binary(chunk.keys),
            large_binary(chunk.values),
        )


def worker_microseconds(
    target: BenchEnvironment, events: int, rounds: int
) -> tuple[dict[Format, list[float]], dict[Format, dict[str, float]]]:
    """Return the worker's CPU time per event in microseconds, by format and round, and the parts of one run of each."""
    jobs: dict[Format, tuple[Workload, str]] = {
        "avro": (Flights(), "surgetank_worker"),
        "json": (JsonFlights(), "surgetank_json"),
    }
    found: dict[Format, list[float]] = {form: [] for form in jobs}
    parts: dict[Format, dict[str, float]] = {}
    with ExitStack() as topics:
        runs: dict[Format, tuple[BenchmarkRun, Contender]] = {}
        for form, (work, module) in jobs.items():
            contender = Contender(form, f"worker, {form}", "exactly once", f"ops.bench.{module}", events, {})
            runs[form] = topics.enter_context(prepared_run(target, work, events)), contender
        for number in range(rounds):
            for form in jobs if number % 2 == 0 else reversed(jobs):
                run, contender = runs[form]
                measured, _ = run.run(contender)
                found[form].append(1e6 / measured.events_per_cpu_second)
                target.reporter.say(f"worker, {form}, round {number + 1}: {found[form][-1]:.2f} us of CPU per event")
        for form, (run, contender) in runs.items():
            file = target.home / f"{form}.cpu-parts.jsonl"
            run.run(contender, environment={cpu_parts.VARIABLE: str(file)})
            looks = cpu_breakdown.window(file.read_text().splitlines(keepends=True), events)
            parts[form] = cpu_breakdown.breakdown(*looks, worker_parts.THREADS)
    return found, parts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="Events of a run of the worker; 0: none.")
    parser.add_argument("--rounds", type=int, default=5, help="Runs of each format.")
    arguments = parser.parse_args()
    _print("decoder", "ns", decode_nanoseconds(arguments.rounds))
    if not arguments.events:
        return
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    with temporary_cluster(HOME / "kafka", 1) as cluster:
        kafka = KafkaSettings(bootstrap=cluster.bootstrap)
        broker = psutil.Process(cluster.status()[0].pid)
        target = BenchEnvironment(kafka, clients.admin(kafka), HOME, broker, Reporter(print, lambda _: None))
        found, parts = worker_microseconds(target, arguments.events, arguments.rounds)
    _print("worker", "us", found)
    for form, each in parts.items():
        print(f"worker, {form}, us by part: " + ", ".join(f"{part} {cost:.2f}" for part, cost in each.items()))


def _print(what: str, unit: str, found: dict[Format, list[float]]) -> None:
    medians = {form: statistics.median(each) for form, each in found.items()}
    shown = ", ".join(f"{form} {median:.2f} {unit}" for form, median in medians.items())
    print(f"{what}: {shown} of CPU per event; json/avro {medians['json'] / medians['avro']:.2f}")


if __name__ == "__main__":
    main()
