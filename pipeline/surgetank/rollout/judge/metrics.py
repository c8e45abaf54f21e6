"""What is compared: for each guard rail, whether the candidate does harm, and whether it is known to be good enough.

Harm is evidence at every look, at a level that is divided by the number of guard rails (Bonferroni). Good enough is
non-inferiority: the bound of how much worse the candidate may be is below the rail's limit. Neither is the opposite
of the other: without data, nothing is harmful and nothing is good enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from surgetank.rollout.judge import count_test, mean_test, paired_test
from surgetank.rollout.judge.counts import StepCounts
from surgetank.rollout.judge.mean_test import ConfidenceInterval
from surgetank.rollout.judge.paired_test import PairSums
from surgetank.rollout.judge.sums import KeySums


class GuardMetric(StrEnum):
    """What is compared."""

    ERRORS = "errors"
    NOT_A_NUMBER = "not_a_number"
    LATENCY = "latency"
    SCORE_MEAN = "score_mean"
    SCORE_DISTRIBUTION = "score_distribution"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class GuardRail:
    """A metric and its limits.

    ``delta``: a step is passed only if the candidate is surely not worse by this or more; None: the metric can only
    roll back. ``tolerated``: a difference of means up to this is no harm. ``required``: without measurements of this
    metric no step is passed.

    Units: of errors, NaN and latency a difference of rates (of blocks; of seconds of a worker), of scores one standard
    deviation of the primary's scores, of quality the unit of the loss.
    """

    metric: GuardMetric
    delta: float | None
    tolerated: float = 0.0
    required: bool = False


GUARD_RAILS = (
    GuardRail(GuardMetric.ERRORS, delta=0.01, required=True),
    GuardRail(GuardMetric.NOT_A_NUMBER, delta=0.01, required=True),
    GuardRail(GuardMetric.LATENCY, delta=0.1),
    GuardRail(GuardMetric.SCORE_MEAN, delta=0.2),
    GuardRail(GuardMetric.SCORE_DISTRIBUTION, delta=None),
    GuardRail(GuardMetric.QUALITY, delta=0.05),
)


@dataclass(frozen=True, slots=True)
class Harm:
    """Whether one metric says that the candidate does harm.

    ``log_e``: logarithm of an e-value, to be compared with ``log_limit``; or ``interval`` of the candidate's mean minus
    the primary's, to be compared with the tolerated difference.
    """

    metric: GuardMetric
    found: bool
    log_e: float | None = None
    log_limit: float = math.inf
    interval: ConfidenceInterval | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Whether one metric is good enough: True, False, or None if it is not measured.

    ``interval`` is of how much more the candidate has than the primary; all of it must be below ``delta``.
    """

    metric: GuardMetric
    passed: bool | None
    delta: float
    interval: ConfidenceInterval | None = None


def harms(counts: StepCounts, rails: Sequence[GuardRail], alpha: float, *, shadow: bool) -> tuple[Harm, ...]:
    """Return the finding of each rail. ``alpha``: probability that any of them ever blames a version that is alike.

    ``shadow``: the candidate scored the primary's rows; else it answered for keys of its own.
    """
    each = alpha / len(rails)
    return tuple(_harm(counts, rail, each, shadow=shadow) for rail in rails)


def acceptances(
    counts: StepCounts, rails: Sequence[GuardRail], alpha: float, *, shadow: bool
) -> tuple[Acceptance, ...]:
    """Return the finding of each rail that has a ``delta``, each at level ``alpha``: as all must pass, not divided."""
    return tuple(
        _acceptance(_excess(counts, rail.metric, alpha, shadow=shadow), rail, rail.delta)
        for rail in rails
        if rail.delta is not None
    )


def _harm(counts: StepCounts, rail: GuardRail, alpha: float, *, shadow: bool) -> Harm:
    limit = -math.log(alpha)
    match rail.metric:
        case GuardMetric.SCORE_MEAN | GuardMetric.QUALITY:
            interval = _excess(counts, rail.metric, alpha, shadow=shadow)
            if interval is None:
                return Harm(rail.metric, False)
            lower = rail.metric is GuardMetric.SCORE_MEAN and interval.high < -rail.tolerated
            return Harm(rail.metric, interval.low > rail.tolerated or lower, interval=interval)
        case GuardMetric.SCORE_DISTRIBUTION:
            if shadow:
                return Harm(rail.metric, False)
            log_e = count_test.distribution_log_e(counts.candidate.bins, counts.primary.bins)
            return Harm(rail.metric, log_e >= limit, log_e, limit)
        case _ if pairs := _pairs(counts, rail.metric, shadow=shadow):
            log_e = paired_test.evidence(pairs)
            return Harm(rail.metric, log_e >= limit, log_e, limit)
        case _:
            candidate, primary = _flags(counts, rail.metric)
            found = count_test.evidence(candidate, primary)
            return Harm(rail.metric, found.worse and found.log_e >= limit, found.log_e, limit)


def _pairs(counts: StepCounts, metric: GuardMetric, *, shadow: bool) -> PairSums | None:
    """Return the pairs of a metric that is compared pair by pair."""
    if metric is GuardMetric.LATENCY:
        return counts.slow
    if not shadow:
        return None
    return counts.shadow.errors if metric is GuardMetric.ERRORS else counts.shadow.not_a_number


def _flags(counts: StepCounts, metric: GuardMetric) -> tuple[KeySums, KeySums]:
    if metric is GuardMetric.ERRORS:
        return counts.candidate.errors, counts.primary.errors
    return counts.candidate.not_a_number, counts.primary.not_a_number


def _excess(counts: StepCounts, metric: GuardMetric, alpha: float, *, shadow: bool) -> ConfidenceInterval | None:
    """Return the interval of how much more the candidate has; None if it is not measured."""
    if metric is GuardMetric.QUALITY:
        return _two_groups(counts.candidate.losses, counts.primary.losses, alpha)
    if metric is GuardMetric.SCORE_MEAN:
        if shadow:
            return mean_test.mean(counts.shadow.differences, alpha) if counts.shadow.differences.blocks else None
        return _two_groups(counts.candidate.scores, counts.primary.scores, alpha)
    if pairs := _pairs(counts, metric, shadow=shadow):
        return mean_test.paired_rate(pairs.difference, alpha) if pairs.difference.blocks else None
    candidate, primary = _flags(counts, metric)
    if not candidate.blocks or not primary.blocks:
        return None
    return mean_test.rate_difference(candidate, primary, alpha)


def _two_groups(candidate: KeySums, primary: KeySums, alpha: float) -> ConfidenceInterval | None:
    if not candidate.blocks or not primary.blocks:
        return None
    return mean_test.difference(candidate, primary, alpha)


def _acceptance(excess: ConfidenceInterval | None, rail: GuardRail, delta: float) -> Acceptance:
    if excess is None:
        return Acceptance(rail.metric, None if not rail.required else False, delta)
    higher = rail.metric is GuardMetric.SCORE_MEAN and excess.low <= -delta
    return Acceptance(rail.metric, excess.high < delta and not higher, delta, excess)
