"""Runs many odd pipelines, some at a time, and sums up what came of them."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from surgetank.clock import Clock, SystemClock
from surgetank.drills.odd.declaration import OddPipeline, odd_pipeline
from surgetank.drills.odd.pipeline_run import PipelineResult, PipelineRun
from surgetank.drills.odd.refusals import OddProject, Refusal, set_up
from surgetank.drills.odd.report import OddReport
from surgetank.errors import SettingsError
from surgetank.settings import KafkaSettings

BYTES_PER_EVENT = 20 * (1 << 30) // 1_000_000  # 20 GiB of a million events


@dataclass(frozen=True, slots=True)
class OddPlan:
    """What to run: ``events`` over the pipelines that are not refused, ``jobs`` at a time, of ``only`` if given."""

    pipelines: int
    events: int
    seed: int
    jobs: int = 2
    only: tuple[int, ...] = ()
    prefix: str = "odd"

    def __post_init__(self) -> None:
        """Raise SettingsError for numbers of pipelines that the plan does not have, or less than an event for each."""
        if unknown := [number for number in self.only if not 0 <= number < self.pipelines]:
            raise SettingsError(
                f"--only {', '.join(map(str, unknown))}: the numbers of {self.pipelines} pipelines are 0 to "
                f"{self.pipelines - 1}"
            )
        if self.events < self.pipelines:
            raise SettingsError(f"--events {self.events}: {self.pipelines} pipelines need at least one event each")


def run_odd(
    kafka: KafkaSettings, home: Path, plan: OddPlan, *, say: Callable[[str], None], clock: Clock | None = None
) -> OddReport:
    """Run the plan; the folders of pipelines with mismatches stay below ``home``. ``say`` receives lines of progress.

    A pipeline whose run fails, for whatever reason, has the error as a mismatch, and the others go on. After Ctrl-C the
    report has the pipelines that were judged by then.
    """
    clock = clock or SystemClock()
    started = clock.monotonic()
    every = [odd_pipeline(plan.seed, number, plan.prefix) for number in range(plan.pipelines)]
    prepared = [(odd, *set_up(odd, plan.seed)) for odd in every]
    records = plan.events // max(1, sum(not refusals for _, _, refusals in prepared))
    chosen = [each for each in prepared if not plan.only or each[0].number in plan.only]
    stop = threading.Event()
    runs: queue.SimpleQueue[PipelineRun] = queue.SimpleQueue()
    for job in range(plan.jobs):
        runs.put(PipelineRun(kafka, home, f"{plan.prefix}-sender-{job}", stop))

    def run(odd: OddPipeline, project: OddProject, refusals: tuple[Refusal, ...]) -> PipelineResult:
        free = runs.get()
        try:
            return free.run(
                odd, project, refusals, seed=plan.seed, records=records, bytes_max=records * BYTES_PER_EVENT
            )
        finally:
            runs.put(free)

    results: list[PipelineResult] = []
    interrupted = False
    with ThreadPoolExecutor(plan.jobs, "odd") as pool:
        futures = [pool.submit(run, *each) for each in chosen]
        try:
            for future in as_completed(futures):
                results.append(future.result())
                say(_progress(results, len(chosen), clock.monotonic() - started))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    ordered = sorted(results, key=lambda each: each.number)
    return OddReport.of(plan.seed, clock.monotonic() - started, ordered, interrupted=interrupted)


def _progress(results: Sequence[PipelineResult], total: int, seconds: float) -> str:
    last = results[-1]
    what = f"refused: {last.refused}" if last.refused else f"{last.positions:,} records"
    wrong = f", {last.wrong} MISMATCHES" if last.wrong else ""
    return f"{len(results):4d}/{total} {seconds:6.0f} s  pipeline {last.number}: {what}{wrong}"[:79]
