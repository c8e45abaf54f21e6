"""Decides when a prediction cache is used: while it saves more seconds than it costs. Pure.

The cache is used for a window, then judged. A window without gain switches it off for 20 times the time that the window
took, then 40, 80, up to 320 times; after that it is tried for another window. So a cache that never pays is used for a
twentieth of the time at first, for a three hundredth later. A window is a run of successive batches, since single
batches here and there would rarely meet the rows that they repeat.
"""

from math import inf

WINDOW_SECONDS = 2.0
BATCHES_MIN = 8  # a window has at least so many
PAUSE, PAUSE_MAX = 20.0, 320.0  # in windows


class CacheSwitch:
    """The state of one cache: in use, or paused. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._begun: float | None = None  # the window in progress
        self._batches = 0
        self._gain = 0.0
        self._paused_until = -inf
        self._pause = PAUSE

    def in_use(self, now: float) -> bool:
        """Return whether a batch that comes now goes through the cache."""
        return now >= self._paused_until

    def used(self, now: float, *, spent: float, saved: float) -> None:
        """Take the seconds that the cache took and those that it saved for one batch, which ends now."""
        if self._begun is None:
            self._begun = now - spent
        self._batches += 1
        self._gain += saved - spent
        passed = now - self._begun
        if passed < WINDOW_SECONDS or self._batches < BATCHES_MIN:
            return
        if self._gain > 0:
            self._pause = PAUSE
        else:
            self._paused_until = now + self._pause * passed
            self._pause = min(PAUSE_MAX, 2 * self._pause)
        self._begun, self._batches, self._gain = None, 0, 0.0
