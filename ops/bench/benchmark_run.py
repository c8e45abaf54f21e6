"""One run of one contender over a backlog, and rounds of all contenders in turn."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka.admin import AdminClient

from ops.bench import output_check
from ops.bench.backlog import PARTITIONS, ends, fill, make_topics, remove_topics, remove_topics_of
from ops.bench.contender_args import ContenderArgs
from ops.bench.contenders import NOTHING, Contender, running, tail, watch
from ops.bench.jobs import Workload
from ops.bench.profile import profiled
from ops.bench.rates import MeasuredRun, ProgressSample, mark, run_of, summary
from surgetank.errors import SurgetankError
from surgetank.settings import KafkaSettings

WATCHED = 0.96  # a run ends when this share of its scores exists


@dataclass(frozen=True, slots=True)
class Reporter:
    """Reports the progress of the benchmark: a permanent line, and the current activity."""

    say: Callable[[str], None]
    doing: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchEnvironment:
    """The environment of all runs. ``broker`` is None if it is external, and so not measured."""

    kafka: KafkaSettings
    admin: AdminClient
    home: Path
    broker: psutil.Process | None
    reporter: Reporter


def topics_of(job: ContenderArgs, work: Workload) -> list[str]:
    """Return the topics that a run writes to; the end of a name is its kind."""
    written = [job.scores, f"{job.name}.dead-letters"]
    return [*written, job.changelog] if work.memory else written


@dataclass(frozen=True, slots=True)
class BenchmarkRun:
    """A backlog of one job on one topic. ``partitions`` is the partition count of all topics of its runs."""

    target: BenchEnvironment
    work: Workload
    events: str
    partitions: int = PARTITIONS

    def run(
        self,
        contender: Contender,
        *,
        look_at_scores: bool = False,
        profile: Path | None = None,
        environment: Mapping[str, str] = NOTHING,
        afterwards: Callable[[ContenderArgs, Path], None] = lambda *_: None,
    ) -> tuple[MeasuredRun, output_check.Scores | None]:
        """Let one contender score its share of the backlog, in its own group and to its own topics.

        ``afterwards`` is called with its arguments and its log after it has stopped, before its topics are deleted.
        """
        target = self.target
        name = f"bench-{contender.key.replace('_', '-')}-{time.time_ns()}"
        folder = target.home / name
        job = ContenderArgs(
            target.kafka.bootstrap, name, self.events, f"{name}.scores", f"{name}.cards.changelog", str(folder)
        )
        log = target.home / f"{name}.log"

        def on_sample(sample: ProgressSample) -> None:
            target.reporter.doing(f"{contender.title}: {sample.done:,} of {contender.events:,} scores")

        try:
            make_topics(target.kafka, topics_of(job, self.work), self.partitions)
            started = time.monotonic()
            with running(contender, job, log, environment) as process, profiled(process, contender.key, profile):
                looks = watch(
                    contender,
                    job,
                    target.admin,
                    process,
                    log,
                    until=round(mark(WATCHED, contender.events, self.work.warm)),
                    broker=target.broker,
                    on_sample=on_sample,
                )
                scores = output_check.first_scores(target.kafka, job) if look_at_scores else None
            try:
                run = run_of(looks, contender.events, started, self.work.warm)
            except ValueError as error:
                raise SurgetankError(f"{contender.title}: {error}; {log} ends:\n{tail(log)}") from None
            afterwards(job, log)
            return run, scores
        finally:
            remove_topics_of(target.kafka, name)
            shutil.rmtree(folder, ignore_errors=True)

    def changelog_records(self, job: ContenderArgs) -> int:
        """Return the number of records in the changelog of a run's rows, end markers included."""
        return ends(self.target.admin, job.changelog, self.partitions) or 0


@contextlib.contextmanager
def prepared_run(
    target: BenchEnvironment, work: Workload, backlog: int, partitions: int = PARTITIONS
) -> Iterator[BenchmarkRun]:
    """Put a backlog on a topic, and delete the topic at the end."""
    topic = f"bench.events.{time.time_ns()}"
    try:
        make_topics(target.kafka, [topic], partitions)
        target.reporter.doing(f"putting {backlog:,} events on {topic}")
        fill(target.kafka, topic, work, backlog)
        yield BenchmarkRun(target, work, topic, partitions)
    finally:
        remove_topics(target.kafka, [topic])


def rounds(
    run: BenchmarkRun, chosen: Sequence[Contender], number_of: int, *, same: bool = False
) -> dict[str, dict[str, Any]]:
    """Run all contenders in turn for this many rounds; return the summary of each.

    The order rotates with each round, so that growth or warm-up over time favours no contender. ``same``: in the first
    round, check that all contenders wrote the same scores.
    """
    runs: dict[str, list[MeasuredRun]] = {each.key: [] for each in chosen}
    samples: dict[str, output_check.Scores] = {}
    for number in range(number_of):
        for each in chosen if number % 2 == 0 else reversed(chosen):
            found, scores = run.run(each, look_at_scores=same and number == 0)
            runs[each.key].append(found)
            if scores is not None:
                samples[each.key] = scores
            run.target.reporter.say(_line(number, each, found))
    if samples:
        output_check.check(samples)
    return {key: summary(each) for key, each in runs.items()}


def _line(number: int, contender: Contender, run: MeasuredRun) -> str:
    return (
        f"{contender.title:<25} round {number + 1}: {run.events_per_second:>9,.0f}/s "
        f"{run.events_per_cpu_second:>9,.0f}/CPU s  first score {run.first_score_seconds:.1f} s  "
        f"broker {run.broker_cpu_share:.0%} of a core"
    )
