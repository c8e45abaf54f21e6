"""The judge's three tests: e-processes of counts and of pairs, confidence sequences of means."""

import math
from decimal import Decimal, getcontext
from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ville import AsymptoticCS, BernoulliTest, normal_mixture

from surgetank.rollout.judge import count_test, mean_test, paired_test
from surgetank.rollout.judge.paired_test import PairSums
from surgetank.rollout.judge.sums import KeySums, design_effect

COUNTS = st.integers(0, 100_000)
SHARES = st.floats(0.001, 0.999)


def exact_log_beta(a: int, b: int) -> Decimal:
    """Return ln B(a, b) of large whole numbers by Stirling's series with 60 digits."""
    getcontext().prec = 60

    def log_gamma(x: Decimal) -> Decimal:
        half_log_two_pi = Decimal("0.918938533204672741780329736405617639861397473637783412817151")
        series = 1 / (12 * x) - 1 / (360 * x**3) + 1 / (1260 * x**5) - 1 / (1680 * x**7)
        return (x - Decimal("0.5")) * x.ln() - x + half_log_two_pi + series

    return log_gamma(Decimal(a)) + log_gamma(Decimal(b)) - log_gamma(Decimal(a + b))


def sums(values: list[int], blocks: list[int]) -> KeySums:
    """Return the sums of keys with these totals and numbers of blocks."""
    return KeySums(
        len(blocks),
        sum(blocks),
        sum(values),
        sum(y * y for y in values),
        sum(y * n for y, n in zip(values, blocks, strict=True)),
        sum(n * n for n in blocks),
    )


def test_small_e_values_are_those_computed_with_fractions() -> None:
    """B(1 + S, 1 + F) = S! F! / (S + F + 1)!; by counts with a prior of two errors at the share 1/2, and by pairs."""
    for s in range(6):
        for f in range(6):
            exact = Fraction(2 ** (s + f) * factorial(s) * factorial(f), factorial(s + f + 1))
            assert math.exp(paired_test.log_e_value(s, f)) == pytest.approx(float(exact))
            assert math.exp(count_test.log_e_value(s, f, 0.5, prior=2)) == pytest.approx(float(exact))


def test_the_mean_of_the_e_value_is_one_where_the_versions_are_alike() -> None:
    """Over all outcomes of twelve errors, exactly."""
    share, errors = 0.3, 12
    total = sum(
        math.comb(errors, s) * share**s * (1 - share) ** (errors - s)
        * math.exp(count_test.log_e_value(s, errors - s, share))
        for s in range(errors + 1)
    )  # fmt: skip
    assert total == pytest.approx(1)


def test_without_data_there_is_no_evidence() -> None:
    """Neither from counts, nor from pairs, nor from histograms; the interval of a mean is endless."""
    assert count_test.log_e_value(0, 0, 0.05) == pytest.approx(0, abs=1e-12)
    assert paired_test.log_e_value(0, 0) == 0
    assert count_test.evidence(KeySums(), KeySums()).log_e == 0
    assert paired_test.evidence(PairSums()) == 0
    assert count_test.distribution_log_e((), ()) == 0
    assert mean_test.difference(KeySums(), KeySums(), 0.01).margin == math.inf


@given(COUNTS, COUNTS, SHARES)
def test_one_more_error_of_the_candidate_is_more_evidence_where_it_is_worse(s: int, f: int, share: float) -> None:
    """And one more of the others less; above the tolerated share, where the e-value counts as harm."""
    prior = count_test.PRIOR_ERRORS
    if s <= share * (s + f) or (share * prior + s) / (prior + s + f) <= share:
        return
    here = count_test.log_e_value(s, f, share)
    assert count_test.log_e_value(s + 1, f, share) >= here - 1e-6
    assert s + 1 <= share * (s + f + 2) or count_test.log_e_value(s, f + 1, share) <= here + 1e-6


@given(COUNTS, COUNTS)
def test_pairs_are_symmetric_and_only_the_candidates_errors_are_harm(s: int, f: int) -> None:
    """The e-value does not know which version is which; the evidence of harm does."""
    assert paired_test.log_e_value(s, f) == pytest.approx(paired_test.log_e_value(f, s), abs=1e-6)
    pairs = PairSums.of_independent(s, f, s + f)
    assert paired_test.evidence(pairs) <= 0 or s > f


@given(st.integers(1, 2000), st.integers(1, 2000), SHARES)
def test_e_values_of_counts_are_those_of_ville(s: int, f: int, share: float) -> None:
    """The Bayes factor of a beta mixture against one probability; the order of the errors does not matter."""
    stream = np.concatenate((np.ones(s), np.zeros(f)))
    by_ville = BernoulliTest(share, prior=(100 * share, 100 * (1 - share))).fit(stream).log_e_values_[-1]
    assert count_test.log_e_value(s, f, share) == pytest.approx(by_ville, abs=1e-6)


def test_a_stream_of_errors_gives_the_e_process_of_ville() -> None:
    """Error by error: which of the versions had it."""
    mine = np.random.default_rng(1).random(300) < 0.1
    by_ville = BernoulliTest(0.05, prior=(5.0, 95.0)).fit(mine.astype(float)).log_e_values_
    ours = [count_test.log_e_value(int(mine[:n].sum()), n - int(mine[:n].sum()), 0.05) for n in range(1, len(mine) + 1)]
    assert ours == pytest.approx(by_ville.tolist(), abs=1e-8)


def test_e_values_of_a_billion_rows_are_exact_to_five_digits() -> None:
    """Against Stirling's series with 60 digits; also where almost all errors are of one version."""
    for s, f in ((50_010_000, 949_990_000), (10**9, 1), (49_990_000, 950_010_000)):
        exact = (
            exact_log_beta(5 + s, 95 + f)
            - exact_log_beta(5, 95)
            - s * (Decimal(1) / 20).ln()
            - f * (Decimal(19) / 20).ln()
        )
        assert count_test.log_e_value(s, f, 0.05) == pytest.approx(float(exact), rel=1e-8, abs=1e-5)


def test_a_share_outside_of_0_to_1_is_refused() -> None:
    """There is nothing to compare."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        count_test.log_e_value(1, 1, 1.0)


def test_the_e_process_of_alike_versions_seldom_ever_exceeds_its_limit() -> None:
    """Ville's inequality: of 2,000 streams of 400 errors, at most 5 % ever reach an e-value of 20."""
    random = np.random.default_rng(7)
    exceeded = 0
    logs = {(s, n): count_test.log_e_value(s, n - s, 0.2) for n in range(401) for s in range(n + 1)}
    for _ in range(2000):
        mine = np.cumsum(random.random(400) < 0.2).tolist()
        exceeded += any(logs[s, n] >= math.log(20) for n, s in enumerate(mine, 1))
    assert exceeded <= 100


@given(st.floats(1, 1e6), st.floats(0.0001, 0.2), st.floats(10, 1e5))
def test_margins_are_those_of_robbins_mixture(n: float, alpha: float, at_verdict: float) -> None:
    """The boundary of ville with the precision 1 / r^2, divided by n."""
    r2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / at_verdict
    expected = float(normal_mixture(n, alpha, 1 / r2)) / n
    assert mean_test.margin(1 / n, n, alpha, at_verdict) == pytest.approx(expected)


def test_the_interval_of_a_mean_is_that_of_ville() -> None:
    """On independent rows; the precision of ville is optimized numerically, so the margins differ by little."""
    values = np.random.default_rng(3).normal(2, 3, 5000)
    theirs = AsymptoticCS(alpha=0.01, t_opt=mean_test.UNITS_AT_VERDICT).fit(values)
    low, high = theirs.interval()
    ours = mean_test.mean(KeySums.of_independent(5000, values.sum(), float(values @ values)), 0.01)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=0.002)


def test_margins_shrink_with_rows_and_grow_with_certainty() -> None:
    """Monotone, and near the best margin for one look at the rows that it is tuned for."""
    margins = [mean_test.margin(1 / n, n, 0.01) for n in (10, 100, 1000, 10_000, 10**9)]
    assert margins == sorted(margins, reverse=True)
    assert mean_test.margin(1, 100, 0.001) > mean_test.margin(1, 100, 0.01)


def test_few_keys_say_nothing_about_a_mean() -> None:
    """However many rows they have."""
    many = sums([100] * 29, [1000] * 29)
    assert mean_test.mean(many, 0.01).margin == math.inf
    assert mean_test.difference(many, sums([0] * 100, [10] * 100), 0.01).margin == math.inf


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=2, max_size=30))
def test_the_variance_is_that_of_the_keys(keys: list[tuple[int, int]]) -> None:
    """By its definition: residuals of the keys' totals around the mean."""
    blocks, values = [n for n, _ in keys], [min(n, x) for n, x in keys]
    mean = sum(values) / sum(blocks)
    residuals = sum((y - mean * n) ** 2 for y, n in zip(values, blocks, strict=True))
    expected = residuals * len(keys) / (len(keys) - 1) / sum(blocks) ** 2
    assert sums(values, blocks).variance_of_mean == pytest.approx(expected, abs=1e-9)


def test_errors_of_the_same_keys_are_discounted() -> None:
    """Keys that err in each of their blocks count once; independent blocks count fully."""
    once = sums([1] * 10 + [0] * 190, [1] * 200)
    always = sums([20] * 10 + [0] * 190, [20] * 200)
    assert design_effect(once, once) == pytest.approx(1)
    assert design_effect(always, always) == pytest.approx(20)
    assert PairSums(40, 0, sums([20, 20], [20, 20])).design == pytest.approx(20)


def test_one_key_that_always_errs_is_no_evidence() -> None:
    """It is with the candidate by chance, and has an error in each of 60 windows; the others have none."""
    candidate = sums([60] + [0] * 49, [60] * 50)
    others = sums([0] * 950, [60] * 950)
    assert count_test.evidence(candidate, others).log_e < math.log(20)
    independent = count_test.log_e_value(60, 0, 0.05)
    assert independent > math.log(1e6)


def test_histograms_that_differ_are_evidence_and_alike_ones_are_not() -> None:
    """Also if the difference is in one bin only."""
    alike = (50,) * 10
    other = tuple(1000 for _ in alike)
    assert count_test.distribution_log_e(alike, other) < 0.1
    assert count_test.distribution_log_e((*alike[:-1], 200), other) > math.log(600)
