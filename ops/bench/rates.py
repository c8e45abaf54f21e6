"""Arithmetic of the benchmark: samples to rates, runs to medians, medians to ratios. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

FROM, TO = 0.10, 0.95  # the steady part of a run, without the start and the time when the last partitions run empty


@dataclass(frozen=True, slots=True)
class ProgressSample:
    """At ``at`` seconds there were ``done`` scores, and the process had used ``cpu`` CPU seconds."""

    at: float
    done: int
    cpu: float
    broker_cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """The results of one run. ``broker_cpu_share`` is the broker's CPU seconds per second, 0 if unknown."""

    events: int
    seconds: float
    cpu_seconds: float
    events_per_second: float
    events_per_cpu_second: float
    first_score_seconds: float
    broker_cpu_share: float


def run_of(samples: Sequence[ProgressSample], target: int, started: float, warm: int = 0) -> MeasuredRun:
    """Return the rates between the samples at which 10 % and 95 % of ``target`` scores had been passed.

    The first ``warm`` scores are warm-up: the shares are of the scores after them. Raises ValueError if the samples do
    not reach that far, or pass it in one step.
    """
    first = next((sample.at for sample in samples if sample.done > 0), None)
    low = next((sample for sample in samples if sample.done >= mark(FROM, target, warm)), None)
    high = next((sample for sample in samples if sample.done >= mark(TO, target, warm)), None)
    if first is None or low is None or high is None:
        reached = samples[-1].done if samples else 0
        raise ValueError(f"only {reached:,} of {target:,} scores came")
    events, seconds, cpu = high.done - low.done, high.at - low.at, high.cpu - low.cpu
    if events <= 0 or seconds <= 0 or cpu <= 0:
        raise ValueError(f"{target:,} scores are too few to measure: they came between two looks")
    return MeasuredRun(
        events=events,
        seconds=round(seconds, 3),
        cpu_seconds=round(cpu, 3),
        events_per_second=round(events / seconds, 1),
        events_per_cpu_second=round(events / cpu, 1),
        first_score_seconds=round(first - started, 2),
        broker_cpu_share=round((high.broker_cpu - low.broker_cpu) / seconds, 2),
    )


def mark(share: float, target: int, warm: int = 0) -> float:
    """Return the number of scores at which this share of the scores after the first ``warm`` has been passed."""
    return warm + share * (target - warm)


def summary(runs: Sequence[MeasuredRun]) -> dict[str, Any]:
    """Return the medians of the runs, and all runs."""
    return {
        "events_per_second": median(run.events_per_second for run in runs),
        "events_per_cpu_second": median(run.events_per_cpu_second for run in runs),
        "runs": [asdict(run) for run in runs],
    }


def ratios(found: dict[str, dict[str, Any]], subject: str = "surgetank") -> dict[str, dict[str, float]]:
    """Return the ratios of the subject's rates to those of the others, per second and per CPU second."""
    return {
        other: {
            unit: round(found[subject][unit] / figures[unit], 3)
            for unit in ("events_per_second", "events_per_cpu_second")
        }
        for other, figures in found.items()
        if other != subject and subject in found
    }


def growth(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Return the ratio of the CPU per event of ``after`` to that of ``before``."""
    times: float = before["events_per_cpu_second"] / after["events_per_cpu_second"]
    return round(times, 3)
