"""Traffic of simulated days: daily and weekly season, noise beyond Poisson noise, and injected faults.

Run as a module it prints the false alarms of quiet weeks and the delays until faults are detected, for many seeds. It
exits with status 1 if a week has more than one false alarm of a signal.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from surgetank.anomalies.alarm import Alarm, AlarmChange, Finding
from surgetank.anomalies.count_detectors import ArrivalRate, Latency, Share
from surgetank.anomalies.drift import Drift
from surgetank.records import TopicPartition
from surgetank.telemetry.metrics import LATENCY_SECONDS

Float64s = npt.NDArray[np.float64]

LOOK = 2.0  # seconds between two evaluations of a worker
DAY = 24 * 3600.0
WEEK = 7 * DAY
MONDAY = 1_767_571_200.0  # 2026-01-05 00:00 UTC
PARTITIONS = 4
SIGNALS = ("arrival_rate", "latency", "error_rate", "missing", "scores")


def times(seconds: float, look: float = LOOK) -> Float64s:
    """Return the times of evaluations, one each ``look`` seconds, in seconds from Monday 0:00."""
    return np.arange(look, seconds, look)


def between(at: Float64s) -> float:
    """Return the seconds between two evaluations."""
    return float(at[1] - at[0])


def season(at: Float64s) -> Float64s:
    """Return the factor for a rate: nights have a sixth of the days, weekends three fifths of the week."""
    daily = 1 + 0.72 * np.sin(2 * math.pi * (at / DAY - 0.3))
    # The weekend begins and ends gradually, within three hours.
    begins, ends = 5 * DAY, WEEK
    changes = [begins - 5400, begins + 5400, ends - 5400, ends + 5400]
    return daily * np.interp(at, changes, [1.0, 0.6, 0.6, 1.0], period=WEEK)


def wander(random: np.random.Generator, at: Float64s, deviation: float, minutes: float) -> Float64s:
    """Return autocorrelated noise over some minutes, float64 [n], normal with that deviation."""
    keep = math.exp(-between(at) / (60 * minutes))
    steps = random.normal(0, deviation * math.sqrt(1 - keep**2), len(at))
    return np.fromiter(accumulate(steps.tolist(), lambda noise, step: keep * noise + step), np.float64, len(at))


def arrivals(random: np.random.Generator, at: Float64s, rate: float, start: float = 0.0) -> Float64s:
    """Return the records that arrive between evaluations, about ``rate`` per second: Poisson with a varying rate."""
    lively = np.exp(wander(random, at, 0.1, 5) + wander(random, at, 0.08, 0.3))
    return random.poisson(rate * between(at) * season(at + start) * lively).astype(np.float64)


def alarms(
    at: Float64s, looks: Callable[[int, float, float], Iterator[Finding | None]]
) -> list[tuple[float, AlarmChange]]:
    """Return the changes of one detector: ``looks(number, now, wall)`` returns its findings."""
    told: dict[str, Alarm] = {}
    changes = []
    for number, now in enumerate(at.tolist()):
        for finding in looks(number, now, MONDAY + now):
            if finding is not None:
                alarm = told.setdefault(finding.signal, Alarm(finding.signal))
                if change := alarm.evaluate(now, finding):
                    changes.append((now, change))
    return changes


def rate_alarms(at: Float64s, counts: Float64s) -> list[tuple[float, AlarmChange]]:
    """Return the alarm changes of the arrival rate's detector for these counts."""
    detector = ArrivalRate()
    ends = np.cumsum(counts).astype(np.int64).tolist()
    sources = [TopicPartition("t", number) for number in range(PARTITIONS)]
    return alarms(
        at,
        lambda number, now, wall: iter(
            [detector.evaluate(now, wall, {s: (ends[number] + s.partition) // PARTITIONS for s in sources})]
        ),
    )


def latency_alarms(at: Float64s, counts: Float64s, medians: Float64s, seed: int) -> list[tuple[float, AlarmChange]]:
    """Return the alarm changes of the latency detector for log-normal latencies with these medians in seconds."""
    random = np.random.default_rng(seed)
    detector = Latency(LATENCY_SECONDS)
    edges = np.log(LATENCY_SECONDS)
    draws = random.normal(0, 0.5, 200_000)
    events_max = round(50 * between(at))

    def looks(number: int, _: float, wall: float) -> Iterator[Finding | None]:
        start = int(random.integers(0, len(draws) - events_max))
        events = draws[start : start + min(events_max, int(counts[number]))] + math.log(medians[number])
        buckets = np.bincount(np.searchsorted(edges, events), minlength=len(edges) + 1).astype(np.float64)
        yield detector.evaluate(_, wall, buckets)

    return alarms(at, looks)


def share_alarms(
    at: Float64s, counts: Float64s, shares: Float64s, seed: int, **what: bool
) -> list[tuple[float, AlarmChange]]:
    """Return the alarm changes of a share's detector for events that match with these probabilities."""
    random = np.random.default_rng(seed)
    matching = random.binomial(counts.astype(np.int64), np.clip(shares, 0, 1))
    decrease = what.get("alarm_on_decrease", False)
    detector = Share("share", "match", step=0.01 if decrease else 0.005, alarm_on_decrease=decrease)
    return alarms(
        at, lambda number, now, wall: iter([detector.evaluate(now, wall, counts[number], float(matching[number]))])
    )


def score_alarms(at: Float64s, counts: Float64s, means: Float64s, seed: int) -> list[tuple[float, AlarmChange]]:
    """Return the alarm changes of the score detectors for scores of deviation 1 around these means, within 0 to 1."""
    random = np.random.default_rng(seed)
    detector = Drift(seed)
    rows = counts.astype(np.int64)
    scores = 1 / (1 + np.exp(-random.normal(np.repeat(means, rows), 1) + 2))
    ends = np.cumsum(rows).tolist()

    def looks(number: int, now: float, wall: float) -> Iterator[Finding | None]:
        yield from detector.evaluate(now, wall, scores[ends[number - 1] if number else 0 : ends[number]])

    return alarms(at, looks)


def quiet(signal: str, seed: int, days: float = 7, first_day: int = 0, look: float = LOOK) -> Counter[str]:
    """Return the false alarms, by signal, of one kind of detector in quiet days; ``first_day`` is 0 for Monday."""
    random = np.random.default_rng(seed)
    at = times(days * DAY, look) + first_day * DAY
    daily = np.sin(2 * math.pi * at / DAY)
    counts = arrivals(random, at, 40)
    if signal == "arrival_rate":
        found = rate_alarms(at, counts)
    elif signal == "latency":
        found = latency_alarms(at, counts, 0.03 * np.exp(0.3 * daily + wander(random, at, 0.15, 3)), seed)
    elif signal == "error_rate":
        found = share_alarms(at, counts, 0.002 * np.exp(wander(random, at, 0.3, 5)), seed)
    elif signal == "missing":
        shares = 0.05 * (1 + 0.4 * daily) * np.exp(wander(random, at, 0.1, 5))
        found = share_alarms(at, counts, shares, seed, alarm_on_decrease=True)
    else:
        few = random.poisson(5 * look * season(at)).astype(np.float64)
        found = score_alarms(at, few, 0.3 * daily + wander(random, at, 0.05, 10), seed)
    return Counter(change.signal for _, change in found if change.begins)


def rate_delay(seed: int, factor: float, rate: float, hour: float) -> float | None:
    """Return the seconds until a sudden rate change, an hour after the start, is detected; None for never."""
    random = np.random.default_rng(seed)
    at = times(3600 + 300)
    now = hour * 3600.0 - 3600  # so that the rate is the requested one at the hour
    counts = arrivals(random, at, rate / float(season(np.array([now + 3600]))[0]), now)
    counts = np.where(at > 3600, random.poisson(counts * factor), counts).astype(np.float64)
    seen = [now - 3600 for now, change in rate_alarms(at, counts) if change.begins and now > 3600]
    return seen[0] if seen else None


@cache
def score_delay(seed: int, shift: float, rate: float) -> dict[str, float]:
    """Return the number of events until each signal detects a shift of the scores, in standard deviations."""
    random = np.random.default_rng(seed)
    start = max(1800.0, 4000 / rate)
    at = times(start + max(120.0, 4000 / rate))
    counts = random.poisson(rate * LOOK, len(at)).astype(np.float64)
    after = np.cumsum(np.where(at > start, counts, 0))
    found = score_alarms(at, counts, np.where(at > start, shift, 0.0), seed)
    return {
        change.signal: float(after[np.searchsorted(at, now)]) for now, change in found if change.begins and now > start
    }


def main() -> int:
    """Print the results; return 1 if a quiet week has more than one false alarm of a signal."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--weeks", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20)
    wanted = parser.parse_args()
    noisy = False
    for signal in SIGNALS:
        weeks = [quiet(signal, seed) for seed in range(wanted.weeks)]
        noisy |= any(count > 1 for week in weeks for count in week.values())
        found = sum(weeks, Counter[str]())
        print(f"{signal}: false alarms in {wanted.weeks} quiet weeks: {dict(found) or 'none'}", flush=True)
    for factor in (3.0, 1 / 3, 0.0):
        for rate in (5.0, 20.0, 2000.0):
            delays = [rate_delay(seed, factor, rate, hour=13) for seed in range(wanted.seeds)]
            _print(f"rate x{factor:.2g} at {rate:g}/s", delays, "s")
    for rate in (20.0, 100.0, 400.0):
        runs = [score_delay(seed, 0.5, rate) for seed in range(wanted.seeds)]
        for signal in Drift.signals:
            _print(f"scores + 0.5 deviations at {rate:g}/s, {signal}", [run.get(signal) for run in runs], "events")
    return int(noisy)


def _print(what: str, delays: list[float | None], unit: str) -> None:
    seen = sorted(delay for delay in delays if delay is not None)
    middle = f"median {seen[len(seen) // 2]:,.0f} {unit}, worst {seen[-1]:,.0f}" if seen else ""
    print(f"{what}: seen in {len(seen)} of {len(delays)}; {middle}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
