"""False alarms in quiet weeks and detection delays of faults, on simulated traffic."""

import numpy as np
import pytest

from surgetank.anomalies.drift import Drift
from tests.support import simulated_traffic

FRIDAY = 4
LOOK = 10.0  # half of the window of a detector, so that each count is in two of its values


@pytest.mark.parametrize("signal", simulated_traffic.SIGNALS)
def test_a_quiet_weekend_raises_no_false_alarm(signal: str) -> None:
    """Nights, bursts, slowly varying rates and a weekend. `make weeks` simulates whole weeks, evaluated as by a worker.

    Friday to Monday for the rate of arrivals. The weekend changes no other signal: for these, Friday and Saturday.
    """
    days = 4 if signal == "arrival_rate" else 2
    assert simulated_traffic.quiet(signal, seed=1, days=days, first_day=FRIDAY, look=LOOK) == {}


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
@pytest.mark.parametrize("rate", [40.0, 4000.0])
def test_a_threefold_change_of_the_rate_is_detected_within_30_seconds(factor: float, rate: float) -> None:
    """In both directions, for several seeds, at rates where 30 s hold enough events."""
    delays = [simulated_traffic.rate_delay(seed, factor, rate, hour=13) for seed in range(5)]
    assert all(delay is not None and delay <= 30 for delay in delays), delays


@pytest.mark.parametrize("signal", Drift.signals)
@pytest.mark.parametrize("rate", [20.0, 400.0])
def test_scores_shifted_by_half_a_deviation_are_detected_within_2000_events(signal: str, rate: float) -> None:
    """By both distances, for several seeds."""
    delays = [simulated_traffic.score_delay(seed, 0.5, rate).get(signal) for seed in range(3)]
    assert all(delay is not None and delay <= 2000 for delay in delays), delays


def test_a_daily_peak_is_no_anomaly_after_the_first_day() -> None:
    """A daily batch job with five times the traffic for an hour raises an alarm on the first day only."""
    at = simulated_traffic.times(2 * simulated_traffic.DAY)
    hour = at % simulated_traffic.DAY / 3600
    random = np.random.default_rng(4)
    counts = simulated_traffic.arrivals(random, at, 40) * np.where((hour >= 9) & (hour < 10), 5, 1)
    began = [now / simulated_traffic.DAY for now, change in simulated_traffic.rate_alarms(at, counts) if change.begins]
    assert len(began) >= 1
    assert all(day < 1 for day in began), began


def test_an_anomaly_ends_when_it_is_over_or_becomes_the_baseline() -> None:
    """Traffic that triples for ten minutes returns to normal; traffic that stays tripled becomes the baseline."""
    at = simulated_traffic.times(3 * 3600)
    random = np.random.default_rng(5)
    counts = random.poisson(200.0, len(at)).astype(float)
    short = np.where((at > 5000) & (at < 5600), 3, 1)
    changes = simulated_traffic.rate_alarms(at, counts * short)
    assert [change.begins for _, change in changes] == [True, False]
    assert 5600 < changes[1][0] < 5700
    assert "back in the normal range" in changes[1][1].why

    changes = simulated_traffic.rate_alarms(at, counts * np.where(at > 5000, 3, 1))
    assert [(change.begins, change.rebaselined) for _, change in changes] == [(True, False), (False, True)]
    assert changes[1][0] - changes[0][0] == pytest.approx(1800, abs=2)
