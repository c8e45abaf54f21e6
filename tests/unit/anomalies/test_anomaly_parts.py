"""The parts of the detectors, each against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.anomalies.alarm import CALM_SECONDS, Alarm, AlarmChange, Finding
from pipeline.anomalies.bounds import deviations, ks_bound, psi_bound
from pipeline.anomalies.drift import BLOCK, BLOCKS, SCORES, Drift, ks, psi
from pipeline.anomalies.level import DAY_SLOTS, SLOT_SECONDS, VALUES, VALUES_MIN, Band, Level, Season, baseline
from pipeline.anomalies.rates import ArrivalRate, Latency, RateWindow, Share, quantile
from pipeline.anomalies.sample import ROWS_MAX, ROWS_PER_BATCH, ReservoirSample
from pipeline.records import TopicPartition

NUMBERS = st.floats(-1e6, 1e6)
SAMPLES = st.lists(st.one_of(NUMBERS, st.integers(0, 3).map(float)), min_size=1, max_size=60).map(sorted).map(np.array)


@given(SAMPLES, SAMPLES)
def test_ks_is_the_greatest_distance_anywhere(one: np.ndarray, other: np.ndarray) -> None:
    """As by definition: the distribution functions are compared at every value of both."""
    both = np.concatenate((one, other))
    apart = np.abs(
        np.searchsorted(one, both, side="right") / len(one) - np.searchsorted(other, both, side="right") / len(other)
    )
    distance, where = ks(one, other)
    assert distance == pytest.approx(apart.max())
    assert where in one


@given(SAMPLES, SAMPLES)
def test_psi_is_never_negative_and_zero_for_the_same(one: np.ndarray, other: np.ndarray) -> None:
    """It is a symmetric divergence; samples of few distinct values have fewer bins."""
    index, bins = psi(one, other)
    assert index >= -1e-12
    assert 2 <= bins <= 10
    assert psi(one, one)[0] == pytest.approx(0)


def test_psi_of_a_shift_is_as_calculated() -> None:
    """Normal scores half a deviation off: the index of their decile shares, 0.23."""
    from statistics import NormalDist

    normal = NormalDist()
    before = np.array([normal.inv_cdf((i + 0.5) / 20_000) for i in range(20_000)])
    shares = np.diff([normal.cdf(normal.inv_cdf(d) - 0.5) if 0 < d < 1 else d for d in np.linspace(0, 1, 11)])
    expected = float(np.sum((shares - 0.1) * np.log(shares / 0.1)))
    assert psi(before + 0.5, before)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n", [100, 1000])
def test_bounds_hold_for_samples_of_one_distribution(n: int) -> None:
    """In thousands of draws neither bound is passed: they are for one false alarm in a thousand weeks."""
    random = np.random.default_rng(n)
    before = np.sort(random.normal(size=11_520))
    for _ in range(2000):
        recent = np.sort(random.normal(size=n))
        index, bins = psi(recent, before)
        assert index < psi_bound(n, len(before), bins)
        assert ks(recent, before)[0] < ks_bound(n, len(before))


def test_bounds_tighten_with_more_values_and_widen_with_more_tests() -> None:
    """A deviation that was estimated from few values counts for less; of many tests each must be surer."""
    assert deviations(15) > deviations(180) > 5
    assert deviations(180, tests=50) > deviations(180)
    assert ks_bound(100, 100) > ks_bound(1000, 100) > ks_bound(1000, 1000)


@given(arrays(np.float64, st.integers(2, 12), elements=st.integers(0, 1000).map(float)), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_that_holds_it(counts: np.ndarray, share: float) -> None:
    """At least that share is below the upper end of its bucket, and less is below the lower end."""
    if not counts.sum():
        return
    bounds = np.arange(len(counts), dtype=np.float64)  # the last count is for what is above them all
    found = quantile(bounds, counts, share)
    upper = min(math.ceil(found), len(bounds) - 1)
    reached = counts[: int(upper)].sum() if found < bounds[-1] else counts.sum()
    assert reached >= share * counts.sum() - 1e-6
    assert bounds[0] <= found <= bounds[-1]


def test_usual_is_not_moved_by_a_few_wild_values() -> None:
    """A third of the values a million times larger: the middle and the spread stay what they were, about."""
    random = np.random.default_rng(1)
    values = random.normal(100, 2, 180)
    wild = np.where(np.arange(180) % 3 == 0, 1e8, values)
    assert baseline(wild).middle == pytest.approx(100, abs=2)
    assert baseline(wild).spread < 8


def test_a_season_knows_yesterday_and_last_week_and_no_more() -> None:
    """The same five minutes, and those beside them; other times of day, and nine days ago, are not looked at."""
    season = Season()
    now = 20_000 * 24 * 3600.0 + 9 * 3600
    assert season.range(now) is None
    season.note(now, 5.0)
    season.note(now + SLOT_SECONDS, 7.0)
    assert season.range(now + 24 * 3600) == (5.0, 7.0)
    assert season.range(now + 7 * 24 * 3600) == (5.0, 7.0)
    assert season.range(now + 24 * 3600 + 2 * SLOT_SECONDS) == (7.0, 7.0)
    for days in (2, 3, 6, 8, 9, 15):
        assert season.range(now + days * 24 * 3600) is None, days
    assert season.range(now + 12 * 3600) is None
    assert DAY_SLOTS * SLOT_SECONDS == 24 * 3600


def test_a_level_judges_nothing_before_it_knows_enough() -> None:
    """It learns for five minutes; its band holds what it knows, and is never narrower than what matters."""
    level = Level()
    for number in range(VALUES_MIN):
        assert level.band(0.0, noise=1, low=0, high=0) is None
        level.note(number * 20.0, 10.0)
    band = level.band(0.0, noise=1.0, low=9.9, high=30.0)
    assert band is not None
    assert band.low < 10 - 6
    assert band.high == 30.0
    level.forget()
    assert level.usual is None


def test_memory_is_fixed_however_long_it_runs() -> None:
    """An hour of values, and a reference of so many scores, whatever came."""
    level, drift = Level(), Drift()
    random = np.random.default_rng(1)
    for number in range(3 * VALUES):
        level.note(number * 20.0, float(number))
        drift.look(number * 20.0, number * 20.0, random.normal(size=5000))
    assert level.usual is not None
    assert level.usual.values == VALUES
    assert len(drift._sorted) == BLOCK * BLOCKS
    assert sum(map(len, drift._recent)) + sum(map(len, drift._open)) <= 12 * SCORES


@given(st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 1000)), min_size=1, max_size=80))
def test_a_window_sums_the_last_20_seconds(looks: list[tuple[float, int]]) -> None:
    """Nothing older, nothing lost, whatever the times of the looks."""
    window, now, seen = RateWindow(), 0.0, []
    for after, count in looks:
        now += after
        seen.append((now, count))
        (found,) = window.add(now, (count,)).tolist()
        assert found == sum(count for at, count in seen if at > now - 20)


def finding(value: float) -> Finding:
    """Return a look at something that is usual from -1 to 1."""
    return Finding("x", value, Band(-1.0, 0.0, 1.0), f"it is {value}")


def test_an_alarm_that_comes_and_goes_is_one() -> None:
    """It begins at once, and ends when all was usual for a minute; looks that say nothing end nothing."""
    alarm = Alarm("x")
    changes: list[tuple[float, AlarmChange]] = []
    for now in range(0, 200, 2):
        value = 3.0 if 20 <= now < 100 and now % 10 < 4 else 0.5
        look = None if 110 <= now < 120 else finding(value)
        if change := alarm.look(float(now), look):
            changes.append((now, change))
    assert [change.begins for _, change in changes] == [True, False]
    last = max(now for now in range(20, 100, 2) if now % 10 < 4)
    assert [now for now, _ in changes] == [20, last + CALM_SECONDS]


def test_an_alarm_is_judged_by_what_was_usual_when_it_began() -> None:
    """A band that follows the value does not end it."""
    alarm = Alarm("x")
    assert alarm.look(0.0, finding(5.0)) is not None
    for now in range(2, 600, 2):
        assert alarm.look(float(now), Finding("x", 5.0, Band(0.0, 5.0, 9.0), "used to it")) is None
    assert alarm.active
    assert alarm.score == 5.0


def ends(offset: int, partitions: int) -> dict[TopicPartition, int]:
    """Return log ends that together have risen by ``offset``."""
    return {TopicPartition("t", number): (offset + number) // partitions for number in range(partitions)}


def test_a_rebalance_is_no_change_of_the_rate() -> None:
    """Twice the partitions have twice the records; what was learnt is forgotten, and nothing is said for a while."""
    rate, now, offset = ArrivalRate(), 0.0, 0
    found = []
    for partitions in (4, 8, 2):
        for _ in range(300):
            now, offset = now + 2, offset + 100 * partitions
            found.append(rate.look(now, now, ends(offset, partitions)))
    judged = [each for each in found if each is not None]
    assert judged
    assert max(each.score for each in judged) < 1
    assert sum(each is None for each in found[300:]) > 2 * 150, "after each rebalance it learns anew"


def test_partitions_that_are_being_reopened_change_nothing() -> None:
    """A look that lacks some of them is passed over; what arrived meanwhile is counted with the next whole one."""
    rate, now = ArrivalRate(), 0.0
    for number in range(400):
        now += 2
        whole = ends(number * 400, 4)
        some = {source: end for source, end in whole.items() if source.partition or number % 7}
        judged = rate.look(now, now, some if number % 11 else {})
        assert judged is None or judged.score < 1


def test_a_topic_made_anew_is_learnt_anew() -> None:
    """Ends that go back are no negative traffic."""
    rate = ArrivalRate()
    for number in range(300):
        rate.look(number * 2.0, 0.0, ends(1_000_000 + 400 * number, 4))
    judged = [rate.look(600 + number * 2.0, 0.0, ends(400 * number, 4)) for number in range(300)]
    assert judged[5] is None
    assert judged[-1] is not None
    assert judged[-1].score < 1


def test_latency_that_grows_tenfold_is_told_in_words() -> None:
    """From 20 ms to 500 ms; from 1 ms to 50 ms would be no anomaly, since it hurts nobody."""
    bounds = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

    def all_in(bucket: int) -> np.ndarray:
        return np.bincount([bucket] * 50, minlength=len(bounds) + 1).astype(float)

    for usually, then, anomaly in ((2, 6, True), (0, 3, False)):
        latency = Latency(bounds)
        for number in range(200):
            latency.look(number * 2.0, 0.0, all_in(usually))
        found = [latency.look(number * 2.0, 0.0, all_in(then)) for number in range(200, 212)]
        assert all(each is not None and "95 of 100 events took up to" in each.words for each in found)
        assert any(each is not None and each.score > 1 for each in found) is anomaly


@pytest.mark.parametrize(("before", "after", "anomaly"), [(0, 0.03, True), (0.5, 0.3, True), (0.1, 0.11, False)])
def test_a_share_that_moves_is_an_anomaly_where_it_matters(before: float, after: float, anomaly: bool) -> None:
    """From none to three in a hundred, or fewer than usual by a fifth; one in a hundred more of ten is nothing."""
    share = Share("missing:x", "lack x", step=0.01, falls=True)
    for number in range(200):
        share.look(number * 2.0, 0.0, 1000, 1000 * before)
    for number in range(200, 210):
        last = share.look(number * 2.0, 0.0, 1000, 1000 * after)
    assert last is not None
    assert (last.score > 1) is anomaly, last
    assert "lack x" in last.words


def test_a_sample_is_bounded_and_keeps_no_batch_alive() -> None:
    """Some rows of each batch, copied, up to a bound; what is taken is there once."""
    sample = ReservoirSample(3)
    matrix = np.zeros((8192, 3), dtype=np.float32)
    matrix[:, 1] = np.nan
    for _ in range(1000):
        sample.saw(matrix, np.arange(8192.0))
    rows, missing, scores = sample.take()
    assert ROWS_MAX <= rows < ROWS_MAX + ROWS_PER_BATCH
    assert missing.tolist() == [0, rows, 0]
    assert len(scores) == rows
    assert 0 <= scores.min() < scores.max() < 8192
    assert sample.take()[0] == 0
