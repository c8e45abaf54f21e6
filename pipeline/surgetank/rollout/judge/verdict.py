"""The verdict about a step: continue, step passed, roll back, or pause, with a sentence that says why."""

import math
from dataclasses import dataclass
from enum import StrEnum

from surgetank.rollout.judge.counts import StepCounts
from surgetank.rollout.judge.metrics import GUARD_RAILS, Acceptance, GuardMetric, GuardRail, Harm, acceptances, harms
from surgetank.rollout.judge.plan import RolloutStep
from surgetank.rollout.judge.share_check import check_share


class StepDecision(StrEnum):
    """What to do with the candidate. PROMOTE: it may take the next step; after the last one it is promoted."""

    CONTINUE = "continue"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Rules:
    """The guard rails, and ``alpha``: the probability that a version that is alike is rolled back in a step.

    It is also the probability that a version which is worse by ``delta`` passes a step.
    """

    rails: tuple[GuardRail, ...] = GUARD_RAILS
    alpha: float = 0.01


RULES = Rules()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, why, and the findings behind it; ``acceptances`` is empty before the minimum of the step."""

    decision: StepDecision
    why: str
    harms: tuple[Harm, ...] = ()
    acceptances: tuple[Acceptance, ...] = ()


def judge(counts: StepCounts, step: RolloutStep, seconds: float, rules: Rules = RULES) -> Verdict:
    """Return the verdict about a step with share below 1, after ``seconds`` of it. It may be asked at any time.

    Harm is the first question, because going back is safe even if the measurement is doubtful. Then the share of keys
    must be right, then time and rows must have reached the step's minimum, then every metric must be good enough.
    """
    shadow = step.share is None
    found = harms(counts, rules.rails, rules.alpha, shadow=shadow)
    if guilty := [harm for harm in found if harm.found]:
        return Verdict(
            StepDecision.ROLL_BACK, "; ".join(harm_sentence(counts, harm, shadow=shadow) for harm in guilty), found
        )
    if step.share is not None:
        share = check_share(counts.candidate.keys, counts.primary.keys, step.share)
        if not share.trusted:
            return Verdict(StepDecision.PAUSE, share.why, found)
    rows = counts.shadow.rows if shadow else counts.candidate.rows
    if seconds < step.seconds:
        return Verdict(StepDecision.CONTINUE, f"{seconds:,.0f} of {step.seconds:,.0f} seconds of this step", found)
    if rows < step.rows_min:
        return Verdict(StepDecision.CONTINUE, f"{rows:,} of {step.rows_min:,} rows of this step", found)
    accepted = acceptances(counts, rules.rails, rules.alpha, shadow=shadow)
    if open_ := [each for each in accepted if each.passed is False]:
        return Verdict(StepDecision.CONTINUE, "; ".join(map(acceptance_sentence, open_)), found, accepted)
    if not any(each.passed for each in accepted):
        return Verdict(
            StepDecision.CONTINUE, "nothing is measured that could say that the version is good enough", found
        )
    good = "; ".join(acceptance_sentence(each) for each in accepted if each.passed)
    return Verdict(StepDecision.PROMOTE, f"{good}; after {rows:,} rows in {seconds:,.0f} seconds", found, accepted)


def harm_sentence(counts: StepCounts, harm: Harm, *, shadow: bool) -> str:
    """Return what was found, with its numbers."""
    if harm.interval is not None:
        return f"{_name(harm.metric)}: {_between(harm.metric, harm.interval.low, harm.interval.high)}"
    assert harm.log_e is not None
    e_value = f"e-value {_power(harm.log_e)}, limit {_power(harm.log_limit)}"
    match harm.metric:
        case GuardMetric.SCORE_DISTRIBUTION:
            return f"scores are distributed differently ({e_value})"
        case GuardMetric.LATENCY:
            return (
                f"calls of the candidate alone were slow in {counts.slow.only_candidate:,} seconds, of the primary "
                f"alone in {counts.slow.only_primary:,} ({e_value})"
            )
        case GuardMetric.ERRORS | GuardMetric.NOT_A_NUMBER if shadow:
            pairs = counts.shadow.errors if harm.metric is GuardMetric.ERRORS else counts.shadow.not_a_number
            return (
                f"{_name(harm.metric)}: {pairs.only_candidate:,} of the candidate alone, {pairs.only_primary:,} of the "
                f"primary alone, in {pairs.difference.blocks:,} blocks that both scored ({e_value})"
            )
        case _:
            errors = harm.metric is GuardMetric.ERRORS
            candidate = counts.candidate.errors if errors else counts.candidate.not_a_number
            primary = counts.primary.errors if errors else counts.primary.not_a_number
            return (
                f"{_name(harm.metric)} in {candidate.mean:.3%} of {candidate.blocks:,} blocks, with the primary in "
                f"{primary.mean:.3%} of {primary.blocks:,} ({e_value})"
            )


def acceptance_sentence(each: Acceptance) -> str:
    """Return whether a metric is good enough, with its numbers."""
    if each.interval is None:
        return f"{_name(each.metric)} not measured"
    limit = _value(each.metric, each.delta)
    state = "is below" if each.passed else "must be below"
    if not math.isfinite(each.interval.margin):
        return f"{_name(each.metric)}: too few keys to say anything; the difference must be below {limit}"
    return (
        f"{_name(each.metric)}: {_between(each.metric, each.interval.low, each.interval.high)}, which {state} {limit}"
    )


def _name(metric: GuardMetric) -> str:
    return {
        GuardMetric.ERRORS: "errors of the model",
        GuardMetric.NOT_A_NUMBER: "scores that are NaN or infinite",
        GuardMetric.LATENCY: "slow seconds",
        GuardMetric.SCORE_MEAN: "mean score",
        GuardMetric.SCORE_DISTRIBUTION: "distribution of scores",
        GuardMetric.QUALITY: "loss against labels",
    }[metric]


def _between(metric: GuardMetric, low: float, high: float) -> str:
    return f"difference {_value(metric, low, sign=True)} to {_value(metric, high, sign=True)}"


def _value(metric: GuardMetric, value: float, *, sign: bool = False) -> str:
    form = "+" if sign else ""
    if metric is GuardMetric.SCORE_MEAN:
        return f"{value:{form}.3f} deviations"
    return f"{value:{form}.4g}" if metric is GuardMetric.QUALITY else f"{value:{form}.3%}"


def _power(log: float) -> str:
    """Return an e-value as text; a power of ten where it is large."""
    return f"{math.exp(log):,.3g}" if log < 12 else f"10^{log / math.log(10):.0f}"
