"""The bench: the same job by each contender in turn, then the latencies. Returns what bench.json holds."""

import contextlib
import platform
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka.admin import AdminClient

from ops.bench import arrivals, environment, latency, sameness
from ops.bench.backlog import boarding, fill, make_topics, remove_topics
from ops.bench.contenders import Contender, running, tail, watch
from ops.bench.errand import Errand
from ops.bench.profile import profiled
from ops.bench.rates import Run, Sample, ratios, run_of, summary
from ops.bench.tuning import PRINTED
from pipeline.errors import SurgetankError
from pipeline.kafka import clients
from pipeline.kafka.local import LocalCluster
from pipeline.settings import KafkaSettings, Settings

LOADS = (20, 50, 80)  # per cent of Surgetank's capacity
MEASURED_LATENCY = ("hand_loop", "surgetank")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured. ``share`` scales the events of each run; ``only`` names contenders, empty: all."""

    rounds: int = 3
    share: float = 1.0
    latency_seconds: float = 12.0
    only: tuple[str, ...] = ()
    profile: Path | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """Where the bench tells what it does: a line that stays, and what goes on just now."""

    say: Callable[[str], None]
    doing: Callable[[str], None]


def contenders(plan: Plan, quix: Path) -> list[Contender]:
    """Return those that take part."""

    def events(count: int) -> int:
        return max(1000, round(count * plan.share))

    def one(key: str, title: str, count: int, guarantee: str = "at least once", **more: Any) -> Contender:
        module = f"ops.bench.{more.pop('module', key)}"
        return Contender(key, title, guarantee, module, events(count), PRINTED.get(key, {}), **more)

    all_of_them = [
        one("hand_loop", "hand-written loop", 2_000_000),
        one("surgetank", "Surgetank", 2_000_000, "exactly once", module="surgetank_worker"),
        one("plain_faust", "plain Faust agent", 40_000),
        one("quix", "Quix Streams, batching sink", 500_000, module="quix_sink", python=quix),
        one("quix_dataframe", "Quix Streams, dataframe", 120_000, python=quix),
    ]
    return [each for each in all_of_them if not plan.only or each.key in plan.only]


def bench(plan: Plan, home: Path, talk: Talk, *, bootstrap: str | None = None) -> dict[str, Any]:
    """Measure everything. What was started is stopped, and what was made is removed, on every way out.

    Raises SurgetankError if a contender fails, with the end of its log; the logs stay in ``home``.
    """
    started = time.monotonic()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    quix = environment.python(talk.say) if _wants_quix(plan) else Path()
    those = contenders(plan, quix)
    with contextlib.ExitStack() as leaving:
        kafka, broker = _kafka(bootstrap, home, leaving, talk)
        admin = clients.admin(kafka)
        topic = f"bench.events.{time.time_ns()}"
        make_topics(kafka, [topic])
        leaving.callback(remove_topics, kafka, [topic])
        backlog = max(each.events for each in those)
        talk.doing(f"putting {backlog:,} events on {topic}")
        fill(kafka, topic, boarding(), backlog)
        course = _Course(kafka, admin, topic, home, broker, talk)
        runs: dict[str, list[Run]] = {each.key: [] for each in those}
        samples: dict[str, sameness.Scores] = {}
        for number in range(plan.rounds):
            # The order turns with each round: what grows or warms up over time favours nobody.
            for each in those if number % 2 == 0 else reversed(those):
                run, scores = course.run(each, look_at_scores=number == 0)
                runs[each.key].append(run)
                if scores is not None:
                    samples[each.key] = scores
                talk.say(_line(number, each, run))
        sameness.check(samples)
        found = {key: summary(each) for key, each in runs.items()}
        report: dict[str, Any] = {
            **found,
            "ratios": ratios(found),
            "latency_ms": {},
            "latency_runs": {},
            "guarantees": {each.key: each.guarantee for each in those},
            "settings": _settings(plan, those, kafka, backlog),
            "machine": _machine(),
        }
        if plan.latency_seconds and "surgetank" in found:
            _latencies(report, plan, those, kafka, admin, home, talk)
        if plan.profile:
            for each in those:
                if each.key in MEASURED_LATENCY:
                    talk.doing(f"profiling {each.title}")
                    course.run(each, look_at_scores=False, profile=plan.profile)
                    talk.say(f"profile of {each.title}: {plan.profile / each.key}.speedscope.json")
    report["seconds"] = round(time.monotonic() - started, 1)
    return report


@dataclass(frozen=True, slots=True)
class _Course:
    """What all runs share."""

    kafka: KafkaSettings
    admin: AdminClient
    events: str
    home: Path
    broker: psutil.Process | None
    talk: Talk

    def run(
        self, contender: Contender, *, look_at_scores: bool, profile: Path | None = None
    ) -> tuple[Run, sameness.Scores | None]:
        """Let one contender score its share of the backlog, in a group and to topics of its own."""
        name = f"bench-{contender.key.replace('_', '-')}-{time.time_ns()}"
        job = Errand(self.kafka.bootstrap, name, self.events, f"{name}.scores")
        log = self.home / f"{name}.log"
        topics = [job.scores, f"{name}.dead-letters"]
        make_topics(self.kafka, topics)

        def told(sample: Sample) -> None:
            self.talk.doing(f"{contender.title}: {sample.done:,} of {contender.events:,} scores")

        try:
            started = time.monotonic()
            with running(contender, job, log) as process, profiled(process, contender.key, profile):
                looks = watch(
                    contender,
                    job,
                    self.admin,
                    process,
                    log,
                    until=round(contender.events * 0.96),
                    broker=self.broker,
                    told=told,
                )
                scores = sameness.first_scores(self.kafka, job) if look_at_scores else None
            try:
                return run_of(looks, contender.events, started), scores
            except ValueError as error:
                raise SurgetankError(f"{contender.title}: {error}; {log} ends:\n{tail(log)}") from None
        finally:
            remove_topics(self.kafka, topics)


def _latencies(
    report: dict[str, Any],
    plan: Plan,
    those: list[Contender],
    kafka: KafkaSettings,
    admin: AdminClient,
    home: Path,
    talk: Talk,
) -> None:
    capacity = report["surgetank"]["events_per_second"]
    for per_cent in LOADS:
        for each in those:
            if each.key not in MEASURED_LATENCY:
                continue
            rate = round(capacity * per_cent / 100)
            talk.doing(f"{each.title} at {per_cent} % load, {rate:,} events/s")
            told = latency.measure(each, kafka, admin, latency.Load(rate, plan.latency_seconds), home)
            report["latency_runs"].setdefault(each.key, {})[str(per_cent)] = told
            shown = {name: told[name] for name in ("p50", "p99", "p999")}
            report["latency_ms"].setdefault(each.key, {})[str(per_cent)] = shown
            talk.say(
                f"{each.title:<28} {per_cent} %: p50 {told['p50']} p99 {told['p99']} p99.9 {told['p999']} ms, "
                f"sent {told['achieved_rate']:,.0f} of {told['intended_rate']:,.0f}/s"
            )


def _kafka(
    bootstrap: str | None, home: Path, leaving: contextlib.ExitStack, talk: Talk
) -> tuple[KafkaSettings, psutil.Process | None]:
    if bootstrap is not None:
        return KafkaSettings(bootstrap=bootstrap), None
    talk.doing("starting Apache Kafka (the first time, its jars are fetched)")
    data = home / "kafka"
    cluster = LocalCluster(data, brokers=1, port=_free_port())
    leaving.callback(shutil.rmtree, data, ignore_errors=True)
    leaving.callback(cluster.down)
    cluster.up(fresh=True)
    return KafkaSettings(bootstrap=cluster.bootstrap), psutil.Process(cluster.status()[0].pid)


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wants_quix(plan: Plan) -> bool:
    return not plan.only or any(key.startswith("quix") for key in plan.only)


def _settings(plan: Plan, those: list[Contender], kafka: KafkaSettings, backlog: int) -> dict[str, Any]:
    defaults = Settings().model_dump(mode="json", include={"worker", "model"})
    return {
        "rounds": plan.rounds,
        "backlog": backlog,
        "partitions": 8,
        "bootstrap": kafka.bootstrap,
        "events_per_run": {each.key: each.events for each in those},
        "latency_seconds": plan.latency_seconds,
        "latency_reader_partitions": list(arrivals.PARTITIONS),
        "contenders": {
            each.key: each.settings or {"all": "default", **defaults["worker"], "threads": defaults["model"]["threads"]}
            for each in those
        },
    }


def _machine() -> dict[str, Any]:
    return {"cores": psutil.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def _line(number: int, contender: Contender, run: Run) -> str:
    return (
        f"{contender.title:<28} round {number + 1}: {run.events_per_second:>9,.0f}/s "
        f"{run.events_per_cpu_second:>9,.0f}/CPU s  first score {run.first_score_seconds:.1f} s  "
        f"broker {run.broker_cpu_share:.0%} of a core"
    )
