"""The parts of the detectors, each against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from surgetank.anomalies.alarm import RECOVERY_SECONDS, Alarm, AlarmChange, Finding
from surgetank.anomalies.baseline import (
    DAY_SLOTS,
    SLOT_SECONDS,
    VALUES,
    VALUES_MIN,
    Band,
    BaselineTracker,
    SeasonalRange,
    compute_baseline,
    quantiles,
)
from surgetank.anomalies.bounds import deviations, ks_bound, psi_bound
from surgetank.anomalies.count_detectors import ArrivalRate, Latency, RateWindow, Share, quantile
from surgetank.anomalies.drift import BLOCK, BLOCKS, DECILES, RECENT_SCORES, Drift, ks, psi, without
from surgetank.anomalies.row_sample import ROWS_MAX, ROWS_PER_BATCH, RowSample
from surgetank.records import TopicPartition

NUMBERS = st.floats(-1e6, 1e6)
SAMPLES = st.lists(st.one_of(NUMBERS, st.integers(0, 3).map(float)), min_size=1, max_size=60).map(sorted).map(np.array)


@given(SAMPLES, SAMPLES)
def test_ks_is_the_greatest_distance_anywhere(one: np.ndarray, other: np.ndarray) -> None:
    """Compare with the definition: the largest difference of the distribution functions over all values of both."""
    both = np.concatenate((one, other))
    apart = np.abs(
        np.searchsorted(one, both, side="right") / len(one) - np.searchsorted(other, both, side="right") / len(other)
    )
    distance, where = ks(one, other)
    assert distance == pytest.approx(apart.max())
    assert where in one


@given(SAMPLES, SAMPLES)
def test_psi_is_never_negative_and_zero_for_equal_samples(one: np.ndarray, other: np.ndarray) -> None:
    """It is a symmetric divergence; samples of few distinct values have fewer bins."""
    index, bins = psi(one, other)
    assert index >= -1e-12
    assert bins == len(set(quantiles(other, DECILES).tolist())) + 1
    assert psi(one, one)[0] == pytest.approx(0)


def test_psi_of_a_shift_equals_the_calculated_value() -> None:
    """Normal scores shifted by half a standard deviation: the index of the decile shares is 0.23."""
    from statistics import NormalDist

    normal = NormalDist()
    before = np.array([normal.inv_cdf((i + 0.5) / 20_000) for i in range(20_000)])
    shares = np.diff([normal.cdf(normal.inv_cdf(d) - 0.5) if 0 < d < 1 else d for d in np.linspace(0, 1, 11)])
    expected = float(np.sum((shares - 0.1) * np.log(shares / 0.1)))
    assert psi(before + 0.5, before)[0] == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n", [100, 1000])
def test_bounds_are_not_exceeded_by_samples_of_one_distribution(n: int) -> None:
    """Thousands of draws exceed neither bound: the bounds allow one false alarm in a hundred weeks."""
    random = np.random.default_rng(n)
    before = np.sort(random.normal(size=11_520))
    for _ in range(2000):
        recent = np.sort(random.normal(size=n))
        index, bins = psi(recent, before)
        assert index < psi_bound(n, len(before), bins)
        assert ks(recent, before)[0] < ks_bound(n, len(before))


def test_bounds_tighten_with_more_values_and_widen_with_more_tests() -> None:
    """A deviation estimated from few values needs a higher threshold, and so does each of many tests."""
    assert deviations(15) > deviations(180) > 5
    assert deviations(180, tests=50) > deviations(180)
    assert ks_bound(100, 100) > ks_bound(1000, 100) > ks_bound(1000, 1000)


@given(arrays(np.float64, st.integers(2, 12), elements=st.integers(0, 1000).map(float)), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_that_holds_it(counts: np.ndarray, share: float) -> None:
    """At least that share is below the upper bound of the bucket, and less is below the lower bound."""
    if not counts.sum():
        return
    bounds = np.arange(len(counts), dtype=np.float64)  # the last count is the unbounded bucket
    found = quantile(bounds, counts, share)
    upper = min(math.ceil(found), len(bounds) - 1)
    reached = counts[: int(upper)].sum() if found < bounds[-1] else counts.sum()
    assert reached >= share * counts.sum() - 1e-6
    assert bounds[0] <= found <= bounds[-1]


def test_outliers_do_not_move_the_baseline() -> None:
    """A third of the values is a million times larger: center and spread stay about the same."""
    random = np.random.default_rng(1)
    values = random.normal(100, 2, 180)
    wild = np.where(np.arange(180) % 3 == 0, 1e8, values)
    assert compute_baseline(wild).center == pytest.approx(100, abs=2)
    assert compute_baseline(wild).spread < 8


def test_a_seasonal_range_covers_the_same_time_a_day_and_a_week_ago() -> None:
    """It covers the same five minutes and the neighbouring ones; other times of day and other days are ignored."""
    season = SeasonalRange()
    now = 20_000 * 24 * 3600.0 + 9 * 3600
    assert season.range(now) is None
    season.add(now, 5.0)
    season.add(now + SLOT_SECONDS, 7.0)
    assert season.range(now + 24 * 3600) == (5.0, 7.0)
    assert season.range(now + 7 * 24 * 3600) == (5.0, 7.0)
    assert season.range(now + 24 * 3600 + 2 * SLOT_SECONDS) == (7.0, 7.0)
    for days in (2, 3, 6, 8, 9, 15):
        assert season.range(now + days * 24 * 3600) is None, days
    assert season.range(now + 12 * 3600) is None
    assert DAY_SLOTS * SLOT_SECONDS == 24 * 3600


def test_a_baseline_needs_a_minimum_of_values() -> None:
    """It needs five minutes; the band contains the known values and the interval that is always normal."""
    tracker = BaselineTracker()
    for number in range(VALUES_MIN):
        assert tracker.band(0.0, noise=1, low=0, high=0) is None
        tracker.add(number * 20.0, 10.0)
    band = tracker.band(0.0, noise=1.0, low=9.9, high=30.0)
    assert band is not None
    assert band.low < 10 - 6
    assert band.high == 30.0
    tracker.reset()
    assert tracker.baseline is None


def test_memory_is_bounded_over_time() -> None:
    """The history holds an hour of values and a fixed number of reference scores."""
    tracker, drift = BaselineTracker(), Drift()
    random = np.random.default_rng(1)
    for number in range(3 * VALUES):
        tracker.add(number * 20.0, float(number))
        drift.evaluate(number * 20.0, number * 20.0, random.normal(size=5000))
    assert tracker.baseline is not None
    assert tracker.baseline.values == VALUES
    assert len(drift._reference) == BLOCK * BLOCKS
    assert sum(map(len, drift._recent)) + sum(map(len, drift._block)) <= 12 * RECENT_SCORES


@given(st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 1000)), min_size=1, max_size=80))
def test_a_window_sums_the_last_20_seconds(looks: list[tuple[float, int]]) -> None:
    """No older count and every newer one, whatever the times of the calls."""
    window, now, history = RateWindow(), 0.0, []
    for after, count in looks:
        now += after
        history.append((now, count))
        (found,) = window.add(now, (count,)).tolist()
        assert found == sum(count for at, count in history if at > now - 20)


def finding(value: float) -> Finding:
    """Return a finding whose normal band is -1 to 1."""
    return Finding("x", value, Band(-1.0, 0.0, 1.0), f"it is {value}")


def test_an_intermittent_deviation_is_one_anomaly() -> None:
    """It starts at once and ends after a minute of normal values; evaluations without a finding do not end it."""
    alarm = Alarm("x")
    changes: list[tuple[float, AlarmChange]] = []
    for now in range(0, 200, 2):
        value = 3.0 if 20 <= now < 100 and now % 10 < 4 else 0.5
        look = None if 110 <= now < 120 else finding(value)
        if change := alarm.evaluate(float(now), look):
            changes.append((now, change))
    assert [change.begins for _, change in changes] == [True, False]
    last = max(now for now in range(20, 100, 2) if now % 10 < 4)
    assert [now for now, _ in changes] == [20, last + RECOVERY_SECONDS]


def test_an_anomaly_is_scored_against_the_band_at_its_start() -> None:
    """A band that follows the value does not end the anomaly."""
    alarm = Alarm("x")
    assert alarm.evaluate(0.0, finding(5.0)) is not None
    for now in range(2, 600, 2):
        assert alarm.evaluate(float(now), Finding("x", 5.0, Band(0.0, 5.0, 9.0), "used to it")) is None
    assert alarm.active
    assert alarm.score == 5.0


def ends(offset: int, partitions: int) -> dict[TopicPartition, int]:
    """Return log end offsets whose sum has risen by ``offset``."""
    return {TopicPartition("t", number): (offset + number) // partitions for number in range(partitions)}


def test_a_rebalance_does_not_change_the_rate() -> None:
    """Twice the partitions have twice the records; the baseline is reset, and there are no findings for a while."""
    rate, now, offset = ArrivalRate(), 0.0, 0
    found = []
    for partitions in (4, 8, 2):
        for _ in range(300):
            now, offset = now + 2, offset + 100 * partitions
            found.append(rate.evaluate(now, now, ends(offset, partitions)))
    judged = [each for each in found if each is not None]
    assert judged
    assert max(each.score for each in judged) < 1
    assert sum(each is None for each in found[300:]) > 2 * 150, "after each rebalance it learns anew"


def test_partitions_that_are_reopened_change_nothing() -> None:
    """An evaluation that lacks partitions is skipped; the next complete one counts the records in between."""
    rate, now = ArrivalRate(), 0.0
    for number in range(400):
        now += 2
        whole = ends(number * 400, 4)
        some = {source: end for source, end in whole.items() if source.partition or number % 7}
        judged = rate.evaluate(now, now, some if number % 11 else {})
        assert judged is None or judged.score < 1


def test_a_recreated_topic_resets_the_baseline() -> None:
    """End offsets that decrease are not negative traffic."""
    rate = ArrivalRate()
    for number in range(300):
        rate.evaluate(number * 2.0, 0.0, ends(1_000_000 + 400 * number, 4))
    judged = [rate.evaluate(600 + number * 2.0, 0.0, ends(400 * number, 4)) for number in range(300)]
    assert judged[5] is None
    assert judged[-1] is not None
    assert judged[-1].score < 1


def test_a_latency_anomaly_describes_the_latency() -> None:
    """From 20 ms to 500 ms is an anomaly; from 1 ms to 50 ms is not, because 50 ms is below the minimum."""
    bounds = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

    def all_in(bucket: int) -> np.ndarray:
        return np.bincount([bucket] * 50, minlength=len(bounds) + 1).astype(float)

    for usually, then, anomaly in ((2, 6, True), (0, 3, False)):
        latency = Latency(bounds)
        for number in range(200):
            latency.evaluate(number * 2.0, 0.0, all_in(usually))
        found = [latency.evaluate(number * 2.0, 0.0, all_in(then)) for number in range(200, 212)]
        assert all(each is not None and "95 of 100 events took up to" in each.description for each in found)
        assert any(each is not None and each.score > 1 for each in found) is anomaly


@pytest.mark.parametrize(("before", "after", "anomaly"), [(0, 0.03, True), (0.5, 0.3, True), (0.1, 0.11, False)])
def test_a_changed_share_is_an_anomaly_if_the_change_is_large(before: float, after: float, anomaly: bool) -> None:
    """From 0 to 3 %, or from 50 to 30 %; from 10 to 11 % is not."""
    share = Share("missing:x", "lack x", step=0.01, alarm_on_decrease=True)
    for number in range(200):
        share.evaluate(number * 2.0, 0.0, 1000, 1000 * before)
    for number in range(200, 210):
        last = share.evaluate(number * 2.0, 0.0, 1000, 1000 * after)
    assert last is not None
    assert (last.score > 1) is anomaly, last
    assert "lack x" in last.description


def test_a_row_sample_is_bounded_and_keeps_no_batch_in_memory() -> None:
    """It copies some rows of each batch up to a bound; taking the sample empties it."""
    sample = RowSample(3)
    matrix = np.zeros((8192, 3), dtype=np.float32)
    matrix[:, 1] = np.nan
    for _ in range(1000):
        sample.add(matrix, np.arange(8192.0))
    rows, missing, scores = sample.take()
    assert ROWS_MAX <= rows < ROWS_MAX + ROWS_PER_BATCH
    assert missing.tolist() == [0, rows, 0]
    assert len(scores) == rows
    assert 0 <= scores.min() < scores.max() < 8192
    assert sample.take()[0] == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.lists(st.floats(0, 1), min_size=1))
def test_quantiles_are_those_of_numpy(values: list[float], shares: list[float]) -> None:
    """To the last digits, of a single value too."""
    found = quantiles(np.sort(values), np.array(shares))
    np.testing.assert_allclose(found, np.quantile(values, shares), rtol=1e-9, atol=1e-6)


@given(st.lists(st.integers(0, 5).map(float)), st.lists(st.integers(0, 5).map(float)))
def test_values_are_removed_from_a_sorted_sample_once_each(kept: list[float], removed: list[float]) -> None:
    """Of equal values as many as asked for; the others stay in order."""
    found = without(np.sort(np.array(kept + removed)), np.sort(np.array(removed)))
    assert found.tolist() == sorted(kept)


def test_the_reference_is_all_blocks_in_order() -> None:
    """Also after old blocks have made room, and with equal scores."""
    random, detector = np.random.default_rng(3), Drift(3)
    for number in range(BLOCKS + 40):
        detector.evaluate(20.0 * number, 20.0 * number, random.normal(size=100).round(1))
    assert len(detector._blocks) == BLOCKS
    np.testing.assert_array_equal(detector._reference, np.sort(np.concatenate(detector._blocks)))
