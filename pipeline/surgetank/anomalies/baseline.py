"""The baseline of one value: median and spread over the last hour, and the range at the same time on earlier days.

The estimate is robust, streaming and of fixed size: 180 values of 20 s, and one range for each 5 minutes of 8 days. The
median and the median absolute deviation (times 1.4826, to equal the standard deviation of a normal distribution)
tolerate outliers in up to half of the values.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgetank.anomalies.bounds import deviations

Float64s = npt.NDArray[np.float64]

VALUES = 180
VALUES_MIN = 15  # minimum for an evaluation: five minutes
NORMAL = 1.4826
QUANTILES, MEDIAN = np.array([0.05, 0.5, 0.95]), np.array([0.5])
SLOT_SECONDS = 300
DAY_SLOTS = 24 * 3600 // SLOT_SECONDS
RING = 8 * DAY_SLOTS


@dataclass(frozen=True, slots=True)
class Baseline:
    """The last hour: median, spread (as a standard deviation), 5th and 95th percentile, number of values."""

    center: float
    spread: float
    low: float
    high: float
    values: int


@dataclass(frozen=True, slots=True)
class Band:
    """The normal range of a value. ``score`` is 0 at the center, 1 at either end, above 1 for an anomaly."""

    low: float
    center: float
    high: float

    def score(self, value: float) -> float:
        """Return the distance of ``value`` from the center, divided by the distance of the end on that side."""
        end = self.high if value >= self.center else self.low
        return 0.0 if value == self.center else (value - self.center) / (end - self.center)


class SeasonalRange:
    """The range of a value in each 5 minutes of the last 8 days. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._slot = np.full(RING, -1, dtype=np.int64)
        self._low = np.zeros(RING)
        self._high = np.zeros(RING)
        self._cached_slot = -1
        self._cached_range: tuple[float, float] | None = None

    def add(self, now: float, value: float) -> None:
        """Add a value to the range of its 5 minutes."""
        slot = int(now // SLOT_SECONDS)
        at = slot % RING
        if self._slot[at] != slot:
            self._slot[at], self._low[at], self._high[at] = slot, value, value
        self._low[at] = min(self._low[at], value)
        self._high[at] = max(self._high[at], value)

    def range(self, now: float) -> tuple[float, float] | None:
        """Return the range at this time a day ago and a week ago, each plus and minus 5 minutes; None if unknown."""
        slot = int(now // SLOT_SECONDS)
        if slot != self._cached_slot:  # past slots do not change
            self._cached_slot, self._cached_range = slot, self._range(slot)
        return self._cached_range

    def _range(self, slot: int) -> tuple[float, float] | None:
        wanted = np.array([slot - days * DAY_SLOTS + near for days in (1, 7) for near in (-1, 0, 1)])
        at = wanted % RING
        known = at[self._slot[at] == wanted]
        return (float(self._low[known].min()), float(self._high[known].max())) if len(known) else None


class BaselineTracker:
    """The history of one value. ``tests``: number of values that are evaluated together as one signal."""

    def __init__(self, tests: int = 1) -> None:
        self._tests = tests
        self._values: deque[float] = deque(maxlen=VALUES)
        self._season = SeasonalRange()
        self._baseline: Baseline | None = None

    def add(self, now: float, value: float, stored: float | None = None) -> None:
        """Add a value to the history; ``now`` is seconds since the epoch.

        ``stored`` is the value for the seasonal range, if it differs from ``value``.
        """
        self._values.append(value)
        self._season.add(now, value if stored is None else stored)
        self._baseline = compute_baseline(np.array(self._values)) if len(self._values) >= VALUES_MIN else None

    def reset(self) -> None:
        """Start a new hour, because new values are not comparable. The seasonal range stays."""
        self._values.clear()
        self._baseline = None

    @property
    def baseline(self) -> Baseline | None:
        """Return the baseline of the last hour; None with fewer than VALUES_MIN values."""
        return self._baseline

    def band(
        self, now: float, *, noise: float, low: float, high: float, from_stored: Callable[[float], float] = float
    ) -> Band | None:
        """Return the normal band at ``now`` (seconds since the epoch); None without a baseline.

        ``noise`` is the lower bound of the standard deviation, from counting statistics. Values between ``low`` and
        ``high`` are always normal, and so are values in the seasonal range. ``from_stored`` converts a stored value of
        the seasonal range to the scale of the band.
        """
        if self._baseline is None:
            return None
        deviation = deviations(self._baseline.values, self._tests) * max(noise, self._baseline.spread)
        low, high = min(low, self._baseline.center - deviation), max(high, self._baseline.center + deviation)
        if (before := self._season.range(now)) is not None:
            # Extend the seasonal range by a quarter of the distance from the center to the end of the band.
            low = min(low, from_stored(before[0]) - (self._baseline.center - low) / 4)
            high = max(high, from_stored(before[1]) + (high - self._baseline.center) / 4)
        return Band(low, self._baseline.center, high)


def compute_baseline(values: Float64s) -> Baseline:
    """Return the baseline of values, float64 [n], n at least 1. Pure."""
    low, center, high = quantiles(np.sort(values), QUANTILES).tolist()
    spread = NORMAL * float(quantiles(np.sort(np.abs(values - center)), MEDIAN)[0])
    return Baseline(center, spread, low, high, len(values))


def quantiles(ordered: Float64s, shares: Float64s) -> Float64s:
    """Return the quantiles, float64 [k], of a sorted sample, float64 [n], n at least 1. Pure.

    They are those of ``numpy.quantile``, which would sort again; for small samples it takes ten times as long.
    """
    return np.interp(shares * (len(ordered) - 1), np.arange(len(ordered)), ordered)
