"""The benchmark: the same job by each contender in turn, then the latencies. Returns the content of bench.json."""

import contextlib
import platform
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ops.bench import arrivals, cpu_breakdown, cpu_parts, environment, keyed_state, latency_rounds, worker_parts
from ops.bench.benchmark_run import BenchEnvironment, BenchmarkRun, Reporter, prepared_run, rounds
from ops.bench.contenders import Contender
from ops.bench.jobs import Flights, Payments, Workload
from ops.bench.rates import ratios
from ops.bench.tuning import PRINTED
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import temporary_cluster
from surgetank.settings import KafkaSettings, Settings

# For these also the latency and the CPU of each part of a batch are measured.
MEASURED = ("hand_loop", "hand_transactions", "hand_state", "hand_state_transactions", "surgetank")
JOBS: dict[str, Workload] = {"flights": Flights(), "payments": Payments()}


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """The extent and the job of a benchmark. ``share`` scales the events of each run; ``only`` names contenders.

    ``growth``: for a stateful job also measure the cost of many keys, of many tasks and of restores.
    """

    job: str = "flights"
    rounds: int = 3
    share: float = 1.0
    latency_rounds: int = 3
    latency_seconds: float = 9.0
    growth: bool = True
    only: tuple[str, ...] = ()
    profile: Path | None = None

    @property
    def work(self) -> Workload:
        """The job."""
        return JOBS[self.job]


def contenders(plan: BenchPlan, quix: Path) -> list[Contender]:
    """Return the contenders that take part."""
    warm = plan.work.warm

    def one(key: str, title: str, count: int, guarantee: str = "at least once", **more: Any) -> Contender:
        module = f"ops.bench.{more.pop('module', key)}"
        events = warm + max(1000, round(count * plan.share))
        return Contender(key, title, guarantee, module, events, PRINTED.get(key, {}), **more)

    if plan.work.memory:
        all_of_them = [
            one("hand_state", "hand loop, state", 2_000_000),
            one("hand_state_transactions", "hand loop, state, tx", 2_000_000, "exactly once"),
            one("hand_state_trees", "hand loop, state, trees", 2_000_000),
            one("surgetank", "Surgetank", 2_000_000, "exactly once", module="surgetank_payments"),
            one("faust_table", "Faust agent, Table", 40_000),
            one("quix_state", "Quix, state", 120_000, python=quix),
        ]
    else:
        all_of_them = [
            one("hand_loop", "hand loop", 2_000_000),
            one("hand_transactions", "hand loop, tx", 2_000_000, "exactly once"),
            one("hand_trees", "hand loop, trees", 2_000_000),
            one("surgetank", "Surgetank", 2_000_000, "exactly once", module="surgetank_worker"),
            one("plain_faust", "Faust agent", 40_000),
            one("quix", "Quix, batching sink", 500_000, module="quix_sink", python=quix),
            one("quix_dataframe", "Quix, dataframe", 120_000, python=quix),
        ]
    return [each for each in all_of_them if not plan.only or each.key in plan.only]


def bench(plan: BenchPlan, home: Path, reporter: Reporter, *, bootstrap: str | None = None) -> dict[str, Any]:
    """Measure everything. Every exit stops the started processes and deletes the created topics.

    Raises SurgetankError, with the end of its log, if a contender fails; the logs stay in ``home``.
    """
    started = time.monotonic()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    quix = environment.python(reporter.say) if _wants_quix(plan) else Path()
    chosen = contenders(plan, quix)
    with contextlib.ExitStack() as stack:
        target = _site(bootstrap, home, stack, reporter)
        backlog = max(each.events for each in chosen)
        with prepared_run(target, plan.work, backlog) as run:
            found = rounds(run, chosen, plan.rounds, same=True)
            parts = {each.key: part for each in chosen if each.key in MEASURED and (part := _cpu_parts(run, each))}
            if plan.profile:
                for each in chosen:
                    if each.key in MEASURED:
                        reporter.doing(f"profiling {each.title}")
                        run.run(each, profile=plan.profile)
                        reporter.say(f"profile of {each.title}: {plan.profile / each.key}.speedscope.json")
        report: dict[str, Any] = {
            **found,
            "job": plan.job,
            "ratios": ratios(found),
            "cpu_us_per_event": parts,
            "latency_ms": {},
            "latency_runs": {},
            "latency_ratios": {},
            "guarantees": {each.key: each.guarantee for each in chosen},
            "settings": _settings(plan, chosen, target.kafka, backlog),
            "machine": _machine(),
        }
        if plan.work.memory and plan.growth:
            report["memory"] = keyed_state.measure(target, chosen, found, plan.rounds, plan.share)
        if plan.latency_seconds and "surgetank" in found:
            _latencies(report, plan, chosen, target)
    report["seconds"] = round(time.monotonic() - started, 1)
    return report


def _latencies(report: dict[str, Any], plan: BenchPlan, chosen: list[Contender], target: BenchEnvironment) -> None:
    measured = [each for each in chosen if each.key in MEASURED]
    capacity = report["surgetank"]["events_per_second"]
    runs = latency_rounds.measure(target, plan.work, measured, capacity, plan.latency_rounds, plan.latency_seconds)
    found = latency_rounds.medians(runs)
    baseline = "hand_state_transactions" if plan.work.memory else "hand_transactions"
    report["latency_runs"], report["latency_ms"] = runs, found
    report["latency_ratios"] = latency_rounds.ratios(found, "surgetank", baseline)


def _cpu_parts(run: BenchmarkRun, contender: Contender) -> dict[str, float] | None:
    """Return the CPU of each part of a batch in one run, in microseconds per event; None if the run is too short."""
    file = run.target.home / f"{contender.key}.cpu-parts.jsonl"
    run.target.reporter.doing(f"measuring the CPU of the parts of {contender.title}")
    run.run(contender, environment={cpu_parts.VARIABLE: str(file)})
    try:
        looks = cpu_breakdown.window(file.read_text().splitlines(keepends=True), contender.events)
    except ValueError as error:
        run.target.reporter.say(f"{contender.title}: {error}")
        return None
    return cpu_breakdown.breakdown(*looks, worker_parts.THREADS if contender.key == "surgetank" else {})


def _site(bootstrap: str | None, home: Path, stack: contextlib.ExitStack, reporter: Reporter) -> BenchEnvironment:
    if bootstrap is not None:
        kafka = KafkaSettings(bootstrap=bootstrap)
        return BenchEnvironment(kafka, clients.admin(kafka), home, None, reporter)
    reporter.doing("starting Apache Kafka (the first time, its jars are fetched)")
    data = home / "kafka"
    stack.callback(shutil.rmtree, data, ignore_errors=True)
    cluster = stack.enter_context(temporary_cluster(data, 1))
    kafka = KafkaSettings(bootstrap=cluster.bootstrap)
    return BenchEnvironment(kafka, clients.admin(kafka), home, psutil.Process(cluster.status()[0].pid), reporter)


def _wants_quix(plan: BenchPlan) -> bool:
    return not plan.only or any(key.startswith("quix") for key in plan.only)


def _settings(plan: BenchPlan, chosen: list[Contender], kafka: KafkaSettings, backlog: int) -> dict[str, Any]:
    defaults = Settings().model_dump(mode="json", include={"worker", "model"})
    return {
        "job": plan.work.name,
        "rounds": plan.rounds,
        "backlog": backlog,
        "of which warm up": plan.work.warm,
        "partitions": 8,
        "bootstrap": kafka.bootstrap,
        "events_per_run": {each.key: each.events for each in chosen},
        "latency_rounds": plan.latency_rounds,
        "latency_seconds": plan.latency_seconds,
        "latency_reader_partitions": list(arrivals.PARTITIONS),
        "contenders": {
            each.key: each.settings or {"all": "default", **defaults["worker"], "threads": defaults["model"]["threads"]}
            for each in chosen
        },
    }


def _machine() -> dict[str, Any]:
    return {"cores": psutil.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
