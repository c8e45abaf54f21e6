"""What is usual for one value: its median and spread over the last hour, and what the same time of day had before.

Robust, streaming, in fixed memory: 180 values of 20 s, and a range for each 5 minutes of 8 days. A median and the
median distance from it (times 1.4826: the deviation of a normal distribution) bear that half of the hour is unusual.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.anomalies.bounds import deviations

VALUES = 180
VALUES_MIN = 15  # before that nothing is judged: five minutes
NORMAL = 1.4826
SLOT_SECONDS = 300
DAY_SLOTS = 24 * 3600 // SLOT_SECONDS
RING = 8 * DAY_SLOTS


@dataclass(frozen=True, slots=True)
class Baseline:
    """The last hour: the middle, the spread (a standard deviation), and the ends, beyond which one in 20 lies."""

    middle: float
    spread: float
    low: float
    high: float
    values: int


@dataclass(frozen=True, slots=True)
class Band:
    """Where a value is usual. ``score`` is 0 in the middle, 1 at either end, and an anomaly above."""

    low: float
    middle: float
    high: float

    def score(self, value: float) -> float:
        """Return how far ``value`` is from the middle, in units of the distance to the end on its side."""
        end = self.high if value >= self.middle else self.low
        return 0.0 if value == self.middle else (value - self.middle) / (end - self.middle)


class Season:
    """The range of a value in each 5 minutes of the last 8 days. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self._slot = np.full(RING, -1, dtype=np.int64)
        self._low = np.zeros(RING)
        self._high = np.zeros(RING)
        self._asked = -1
        self._answer: tuple[float, float] | None = None

    def note(self, now: float, value: float) -> None:
        """Remember a value."""
        slot = int(now // SLOT_SECONDS)
        at = slot % RING
        if self._slot[at] != slot:
            self._slot[at], self._low[at], self._high[at] = slot, value, value
        self._low[at] = min(self._low[at], value)
        self._high[at] = max(self._high[at], value)

    def range(self, now: float) -> tuple[float, float] | None:
        """Return the range of the same time a day ago and a week ago, five minutes to either side; None if unknown."""
        slot = int(now // SLOT_SECONDS)
        if slot != self._asked:  # what is asked for lies in the past and stays as it is
            self._asked, self._answer = slot, self._range(slot)
        return self._answer

    def _range(self, slot: int) -> tuple[float, float] | None:
        wanted = np.array([slot - days * DAY_SLOTS + near for days in (1, 7) for near in (-1, 0, 1)])
        at = wanted % RING
        known = at[self._slot[at] == wanted]
        return (float(self._low[known].min()), float(self._high[known].max())) if len(known) else None


class Level:
    """The history of one value. ``tests``: how many values are judged together as one signal."""

    def __init__(self, tests: int = 1) -> None:
        self._tests = tests
        self._values: deque[float] = deque(maxlen=VALUES)
        self._season = Season()
        self._usual: Baseline | None = None

    def note(self, now: float, value: float, recalled: float | None = None) -> None:
        """Add a value to the history; ``now`` is seconds since the epoch.

        ``recalled`` is what the days before are remembered by, where that is not the value itself.
        """
        self._values.append(value)
        self._season.note(now, value if recalled is None else recalled)
        self._usual = baseline(np.array(self._values)) if len(self._values) >= VALUES_MIN else None

    def forget(self) -> None:
        """Begin a new hour: what comes cannot be compared with what was. The days before stay."""
        self._values.clear()
        self._usual = None

    @property
    def usual(self) -> Baseline | None:
        """The last hour; None while too little is known of it."""
        return self._usual

    def band(
        self, now: float, *, noise: float, low: float, high: float, recall: Callable[[float], float] = float
    ) -> Band | None:
        """Return where a value is usual now, as seconds since the epoch; None while too little is known.

        ``noise`` is the standard deviation that the value has at least, from counting alone. ``low`` and ``high`` bound
        what is too small a change to matter. Neither may lie within what the same time had a day or a week ago, which
        ``recall`` turns from what is remembered into values.
        """
        if self._usual is None:
            return None
        far = deviations(self._usual.values, self._tests) * max(noise, self._usual.spread)
        low, high = min(low, self._usual.middle - far), max(high, self._usual.middle + far)
        if (before := self._season.range(now)) is not None:
            # A quarter more than what was there before, of the distance that counts as unusual.
            low = min(low, recall(before[0]) - (self._usual.middle - low) / 4)
            high = max(high, recall(before[1]) + (high - self._usual.middle) / 4)
        return Band(low, self._usual.middle, high)


def baseline(values: npt.NDArray[np.float64]) -> Baseline:
    """Return the middle, spread and ends of values, float64 [n], n at least 1. Pure."""
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    spread = NORMAL * float(np.median(np.abs(values - middle)))
    return Baseline(middle, spread, low, high, len(values))
