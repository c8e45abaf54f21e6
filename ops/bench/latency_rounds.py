"""Latency at several loads: alternating runs of the contenders, medians with their spread, ratios to a baseline."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ops.bench import latency
from ops.bench.benchmark_run import BenchEnvironment
from ops.bench.contenders import Contender
from ops.bench.jobs import Workload

SHARES = (20, 50, 80)  # per cent of Surgetank's measured throughput
RATES = (2_000, 10_000, 40_000)  # events per second
RATES_SHARE_MAX = 0.9  # of that throughput: beyond it a fixed rate only measures the growth of the queue
SHOWN = ("p50", "p99", "p999")

Runs = dict[str, dict[str, list[dict[str, Any]]]]  # by contender and load


def loads(capacity: float) -> dict[str, float]:
    """Return events per second by the name of each load, lowest first; ``capacity`` is Surgetank's throughput."""
    found = {f"{rate}/s": float(rate) for rate in RATES if rate <= RATES_SHARE_MAX * capacity}
    found |= {str(share): float(round(capacity * share / 100)) for share in SHARES}
    return dict(sorted(found.items(), key=lambda load: load[1]))


def measure(
    target: BenchEnvironment, work: Workload, chosen: Sequence[Contender], capacity: float, rounds: int, seconds: float
) -> Runs:
    """Measure each contender at each load for this many rounds; the order of the contenders rotates with each round."""
    named = loads(capacity)
    each_load = [latency.Load(rate, seconds) for rate in named.values()]
    runs: Runs = {each.key: {name: [] for name in named} for each in chosen}
    for number in range(rounds):
        for each in chosen if number % 2 == 0 else reversed(chosen):
            target.reporter.doing(f"latency of {each.title}, round {number + 1} of {rounds}")
            measured = latency.measure(each, target.kafka, target.admin, each_load, work, target.home)
            for name, result in zip(named, measured, strict=True):
                runs[each.key][name].append(result)
            figures = "  ".join(f"{result['p50']}/{result['p99']}" for result in measured)
            target.reporter.say(f"{each.title:<25} p50/p99 ms at {', '.join(named)}: {figures}")
    return runs


def medians(runs: Runs) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the median of each percentile by contender and load; None if no run had a score."""
    return {
        key: {load: {name: _middle([run[name] for run in each]) for name in SHOWN} for load, each in by_load.items()}
        for key, by_load in runs.items()
    }


def ratios(
    found: Mapping[str, Mapping[str, Mapping[str, float | None]]], subject: str, baseline: str
) -> dict[str, dict[str, float]]:
    """Return the ratio of the percentiles of ``subject`` to those of ``baseline``, at each load of both."""
    result: dict[str, dict[str, float]] = {}
    for load, own in found.get(subject, {}).items():
        other = found.get(baseline, {}).get(load, {})
        times = {name: round(mine / base, 2) for name in SHOWN if (mine := own[name]) and (base := other.get(name))}
        if times:
            result[load] = times
    return result


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 1) if known else None
