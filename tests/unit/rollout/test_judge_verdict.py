"""Verdicts, counts as values, plans and the commands that follow from both."""

import math
from functools import reduce
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.rollout.judge.counts import ShadowCounts, StepCounts, VersionCounts
from surgetank.rollout.judge.metrics import GUARD_RAILS, GuardMetric, GuardRail
from surgetank.rollout.judge.next_command import CommandKind, Progress, next_command
from surgetank.rollout.judge.paired_test import NO_PAIRS, PairSums
from surgetank.rollout.judge.plan import Plan, RolloutStep, parse_plan
from surgetank.rollout.judge.share_check import check_share
from surgetank.rollout.judge.sums import KeySums
from surgetank.rollout.judge.verdict import Rules, StepDecision, Verdict, judge

STEP = RolloutStep(0.05, seconds=60, rows_min=1000)
PLAN = parse_plan("shadow 5m, 1% 5m, 5% 10m, 25% 10m, 100%")
NUMBERS = st.integers(0, 10**9)
SUMS = st.builds(KeySums, *[NUMBERS.map(float) if name in "tsp" else NUMBERS for name in "kbtspn"])
PAIRS = st.builds(PairSums, NUMBERS, NUMBERS, SUMS)
VERSIONS = st.builds(
    VersionCounts, NUMBERS, NUMBERS, SUMS, SUMS, SUMS, st.one_of(st.just(()), st.tuples(NUMBERS, NUMBERS)), SUMS
)
COUNTS = st.builds(StepCounts, VERSIONS, VERSIONS, st.builds(ShadowCounts, NUMBERS, PAIRS, PAIRS, SUMS), PAIRS)


def version(rows: int, errors: int, mean: float = 0.0, not_a_number: int = 0) -> VersionCounts:
    """Return counts of independent rows whose scores have this mean, in deviations."""
    scores = KeySums.of_independent(rows, rows * mean, rows * (1 + mean * mean))
    bins = tuple(rows // 10 for _ in range(10))
    return VersionCounts(
        rows,
        rows,
        KeySums.of_independent(rows, errors, errors),
        KeySums.of_independent(rows, not_a_number, not_a_number),
        scores,
        bins,
    )


def canary(candidate: VersionCounts, primary: VersionCounts, slow: PairSums = NO_PAIRS) -> StepCounts:
    """Return the counts of a step without shadow rows."""
    return StepCounts(candidate, primary, slow=slow)


GOOD = canary(version(10_000, 100), version(190_000, 1900))


@given(st.lists(COUNTS, min_size=1, max_size=5), st.randoms())
def test_the_order_in_which_counts_are_added_does_not_matter(each: list[StepCounts], random: object) -> None:
    """Of workers that report in any order; an empty count changes nothing."""
    shuffled = list(each)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert reduce(add, shuffled) == reduce(add, each)
    assert reduce(add, each, StepCounts()) == reduce(add, each)


@given(COUNTS)
def test_counts_are_read_as_they_were_written(counts: StepCounts) -> None:
    """A judge that was restarted has the same numbers."""
    assert StepCounts.from_json(counts.as_json()) == counts


@pytest.mark.parametrize("text", [b"", b"[]", b'{"candidate": {"rows": "many"}}', b'{"candidate": {"bins": 3}}'])
def test_mangled_counts_are_refused_with_the_place(text: bytes) -> None:
    """The sentence names the field."""
    with pytest.raises(ValueError, match="no counts of a rollout's step"):
        StepCounts.from_json(text)


def test_histograms_of_different_scales_are_not_added() -> None:
    """All workers must use the scale of the step."""
    with pytest.raises(ValueError, match="same score scale"):
        VersionCounts(bins=(1, 2)) + VersionCounts(bins=(1, 2, 3))


def test_a_good_version_is_promoted_with_its_numbers() -> None:
    """All metrics that have a limit are below it for sure."""
    verdict = judge(GOOD, STEP, 60)
    assert verdict.decision is StepDecision.PROMOTE
    assert "errors of the model: difference" in verdict.why
    assert "10,000 rows in 60 seconds" in verdict.why


@given(COUNTS, st.floats(0, 59.9))
def test_nothing_is_promoted_before_the_time_of_the_step(counts: StepCounts, seconds: float) -> None:
    """Whatever the counts say."""
    assert judge(counts, STEP, seconds).decision is not StepDecision.PROMOTE


@given(st.integers(0, 999))
def test_nothing_is_promoted_before_the_rows_of_the_step(rows: int) -> None:
    """However long it takes."""
    counts = canary(version(rows, 0), version(19 * rows, 0))
    verdict = judge(counts, STEP, 1e9)
    assert verdict.decision is StepDecision.CONTINUE
    assert f"{rows} of 1,000 rows" in verdict.why


def test_no_alarm_is_no_promotion() -> None:
    """A version that may be 2 percentage points worse continues, though there is no evidence against it."""
    verdict = judge(canary(version(1000, 14), version(19_000, 190)), STEP, 60)
    assert verdict.decision is StepDecision.CONTINUE
    assert "must be below 1.000%" in verdict.why


def test_what_must_be_measured_and_is_not_keeps_the_step_open() -> None:
    """Errors are required; a rail without limit, or without data, promotes nothing."""
    nothing = Rules((GuardRail(GuardMetric.SCORE_DISTRIBUTION, None),))
    assert judge(GOOD, STEP, 60, nothing).decision is StepDecision.CONTINUE
    unlabelled = Rules((GuardRail(GuardMetric.QUALITY, 0.1, required=True),))
    verdict = judge(GOOD, STEP, 60, unlabelled)
    assert verdict.decision is StepDecision.CONTINUE
    assert "loss against labels not measured" in verdict.why


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (canary(version(10_000, 200), version(190_000, 1900)), "errors of the model in 2.000% of 10,000 blocks"),
        (canary(version(10_000, 100, not_a_number=50), version(190_000, 1900)), "NaN or infinite in 0.500%"),
        (canary(version(10_000, 100, mean=0.1), version(190_000, 1900)), "mean score: difference +0."),
        (canary(version(10_000, 100, mean=-0.1), version(190_000, 1900)), "mean score: difference -0."),
        (
            canary(version(10_000, 100), version(190_000, 1900), PairSums.of_independent(20, 0, 60)),
            "candidate alone were slow in 20 seconds, of the primary alone in 0",
        ),
    ],
)
def test_a_bad_version_is_rolled_back_with_its_numbers(counts: StepCounts, words: str) -> None:
    """At any time, by each metric."""
    verdict = judge(counts, STEP, 5)
    assert verdict.decision is StepDecision.ROLL_BACK
    assert words in verdict.why


def test_other_distributions_and_losses_roll_back() -> None:
    """Scores of the same mean in other bins; labels that say that the candidate is worse."""
    candidate, primary = GOOD.candidate, GOOD.primary
    moved = VersionCounts(*[getattr(candidate, name) for name in ("rows", "keys", "errors", "not_a_number", "scores")])
    extreme = moved + VersionCounts(bins=(3000, 500, 500, 500, 500, 500, 500, 500, 500, 3000))
    assert "distributed differently" in judge(canary(extreme, primary), STEP, 5).why
    losses = [KeySums.of_independent(1000, 1000 * mean, 1000 * (mean * mean + 0.01)) for mean in (0.3, 0.2)]
    high, low = (VersionCounts(losses=sums) for sums in losses)
    assert "loss against labels: difference +0.0" in judge(canary(candidate + high, primary + low), STEP, 5).why
    assert judge(canary(candidate + low, primary + high), STEP, 5).decision is not StepDecision.ROLL_BACK


def test_a_tolerated_difference_of_scores_is_no_harm() -> None:
    """A version that is meant to score a little differently."""
    rails = tuple(
        GuardRail(rail.metric, rail.delta, tolerated=0.15) if rail.metric is GuardMetric.SCORE_MEAN else rail
        for rail in GUARD_RAILS
    )
    counts = canary(version(10_000, 100, mean=0.1), version(190_000, 1900))
    assert judge(counts, STEP, 60, Rules(rails)).decision is StepDecision.PROMOTE


def test_shadow_rows_are_judged_in_pairs() -> None:
    """Twenty errors that only the candidate has are enough; equal scores without new errors pass."""
    step = RolloutStep(None, seconds=60, rows_min=1000)
    rows, alike = 5000, PairSums.of_independent(0, 0, 5000)
    same = KeySums.of_independent(rows, 0.0, 50.0)
    bad = StepCounts(shadow=ShadowCounts(rows, PairSums.of_independent(20, 0, rows), alike, same))
    good = StepCounts(shadow=ShadowCounts(rows, PairSums.of_independent(3, 2, rows), alike, same))
    assert "20 of the candidate alone, 0 of the primary alone, in 5,000 blocks" in judge(bad, step, 5).why
    assert judge(good, step, 60).decision is StepDecision.PROMOTE


def test_a_wrong_share_of_keys_pauses() -> None:
    """The measurement is not to be trusted; evidence of harm still rolls back."""
    verdict = judge(canary(version(10_000, 100), version(50_000, 500)), STEP, 60)
    assert verdict.decision is StepDecision.PAUSE
    assert "16.67% of 60,000 keys instead of 5.00%" in verdict.why
    assert "not to be trusted" in verdict.why
    assert judge(canary(version(10_000, 500), version(50_000, 500)), STEP, 60).decision is StepDecision.ROLL_BACK


@pytest.mark.parametrize(
    ("candidate", "primary", "trusted"),
    [
        (0, 0, True),
        (0, 100, True),
        (0, 1000, False),
        (5, 95, True),
        (540, 9460, True),
        (700, 9300, False),
        (1000, 0, False),
    ],
)
def test_a_share_is_trusted_within_chance_and_tolerance(candidate: int, primary: int, trusted: bool) -> None:
    """Of 5 %; also where one version has no keys at all."""
    check = check_share(candidate, primary, 0.05)
    assert check.trusted is trusted
    assert "keys" in check.why


def test_a_plan_is_read_with_its_times_and_rows() -> None:
    """Units and spaces as people write them; what is written out reads the same."""
    plan = parse_plan("shadow 5 min,1% 90s,  2.5 % 1h 20000 rows, 100 %")
    assert plan == Plan(
        (RolloutStep(None, 300, 1000), RolloutStep(0.01, 90, 1000), RolloutStep(0.025, 3600, 20_000), RolloutStep(1.0))
    )
    assert parse_plan(plan.text) == plan


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no step"),
        ("5% 5m", "last step must be 100%"),
        ("shadow, 100%", "does not say how long"),
        ("5% 5m, 1% 5m, 100%", "larger than the one before"),
        ("1% 5m, shadow 5m, 100%", "a shadow comes first"),
        ("0% 5m, 100%", "is no share"),
        ("120% 5m", "is no share"),
        ("1% 5m, 100% 5m", "has no end"),
        ("1% soon, 100%", "'1% soon' is no step"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_with_an_example(text: str, words: str) -> None:
    """The sentence says which step is wrong."""
    with pytest.raises(ValueError, match="Write for example") as refused:
        parse_plan(text)
    assert words in str(refused.value)


def test_a_plan_runs_step_by_step_to_its_end() -> None:
    """Passed steps advance, the last share before 100 % promotes, then it waits."""
    passed = Verdict(StepDecision.PROMOTE, "good")
    kinds = [next_command(PLAN, Progress(step, 0), passed, 600).kind for step in range(5)]
    assert kinds == [*[CommandKind.ADVANCE] * 3, CommandKind.PROMOTE, CommandKind.WAIT]
    assert next_command(PLAN, Progress(1, 0), passed, 600).to_step == 2
    with pytest.raises(ValueError, match="step 5"):
        next_command(PLAN, Progress(5, 0), passed, 600)


@pytest.mark.parametrize(
    ("decision", "kind"),
    [
        (StepDecision.CONTINUE, CommandKind.WAIT),
        (StepDecision.ROLL_BACK, CommandKind.ROLL_BACK),
        (StepDecision.PAUSE, CommandKind.PAUSE),
    ],
)
def test_a_verdict_becomes_a_command_for_its_step(decision: StepDecision, kind: CommandKind) -> None:
    """With the reason of the verdict."""
    command = next_command(PLAN, Progress(1, 0), Verdict(decision, "because"), 1)
    assert (command.kind, command.why, command.from_step) == (kind, "because", 1)


@given(st.sampled_from(StepDecision), st.integers(0, 4), st.floats(0, 1e9))
def test_a_paused_plan_gives_no_command(decision: StepDecision, step: int, now: float) -> None:
    """Whatever the verdict is."""
    assert next_command(PLAN, Progress(step, 0, paused=True), Verdict(decision, ""), now).kind is CommandKind.WAIT


@given(st.sampled_from(StepDecision), st.integers(0, 3), st.floats(0, 299))
def test_no_step_ends_well_before_its_time(decision: StepDecision, step: int, now: float) -> None:
    """Also if a verdict says so."""
    kind = next_command(PLAN, Progress(step, 0), Verdict(decision, ""), now).kind
    assert kind not in {CommandKind.ADVANCE, CommandKind.PROMOTE}


@given(COUNTS)
def test_every_verdict_says_why(counts: StepCounts) -> None:
    """Of any counts, without an error."""
    for step in (STEP, RolloutStep(None, 60, 1000)):
        verdict = judge(counts, step, 1e6)
        assert verdict.why
        assert all(harm.log_e is None or math.isfinite(harm.log_e) for harm in verdict.harms)
