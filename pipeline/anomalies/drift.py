"""Detectors of scores that are spread otherwise than before: PSI on deciles, and Kolmogorov and Smirnov's distance.

The last 1,000 scores are held against a sample of the last hour (at low rates: of the last 11,520 scores). A score
enters that reference only when it has left the 1,000. Both are samples, so memory is fixed and there are no bins that
the scores could leave; where rates are high, what is looked at is a sample too.
"""

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from pipeline.anomalies.alarm import Finding
from pipeline.anomalies.bounds import ks_bound, psi_bound
from pipeline.anomalies.level import Band, Level
from pipeline.anomalies.rates import SPAN_SECONDS

Float64s = npt.NDArray[np.float64]

SCORES = 1000
FRESH = 100  # so many new ones are worth another look
BLOCK = 64  # scores that each block of the reference keeps
BLOCKS = 180
BLOCKS_MIN = 15
KS_LEAST = 0.14  # smaller distances do not matter; a shift by half a standard deviation makes 0.2
PSI_LEAST = 0.15  # 0.1 is usually called worth watching, 0.25 worth acting
DECILES = np.linspace(0.1, 0.9, 9)
MEMORY = 30  # distances that are remembered before the bounds trust them


class Drift:
    """Whether the last scores are spread as those before. ``seed`` is for the choice of samples."""

    signals = ("score_psi", "score_ks")

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._psi, self._ks = Level(), Level()
        self.forget()

    def forget(self) -> None:
        """Learn anew what is usual."""
        self._fresh: list[Float64s] = []  # arrived since the last look that was worth it
        self._recent: deque[Float64s] = deque()
        self._open: list[Float64s] = []  # the block that is being filled
        self._opened = -math.inf
        self._blocks: deque[Float64s] = deque(maxlen=BLOCKS)
        self._sorted = np.zeros(0)
        self._noted, self._since_noted = -math.inf, 0
        self._psi.forget()
        self._ks.forget()

    def look(self, now: float, wall: float, scores: Float64s) -> tuple[Finding, ...]:
        """Take the scores since the last look, float64 [n]; monotonic seconds, and seconds since the epoch."""
        if len(scores):
            self._fresh.append(self._thinned(scores, 4 * SCORES))
        if sum(map(len, self._fresh)) < FRESH:
            return ()
        fresh, self._fresh = np.concatenate(self._fresh), []
        self._recent.append(fresh)
        while sum(map(len, self._recent)) - len(self._recent[0]) >= SCORES:
            self._leave(now, self._recent.popleft())
        self._since_noted += len(fresh)
        recent = np.sort(np.concatenate(self._recent))
        if len(recent) < SCORES or len(self._blocks) < BLOCKS_MIN:
            return ()
        return self._judge(now, wall, recent)

    def _leave(self, now: float, scores: Float64s) -> None:
        self._open.append(scores)
        if now - self._opened >= SPAN_SECONDS and sum(map(len, self._open)) >= BLOCK:
            self._blocks.append(self._thinned(np.concatenate(self._open), BLOCK))
            self._open, self._opened = [], now
            self._sorted = np.sort(np.concatenate(self._blocks))
        elif sum(map(len, self._open)) > 4 * SCORES:
            self._open = [self._thinned(np.concatenate(self._open), 2 * SCORES)]

    def _thinned(self, scores: Float64s, count: int) -> Float64s:
        return scores if len(scores) <= count else self._random.choice(scores, count, replace=False)

    def _judge(self, now: float, wall: float, recent: Float64s) -> tuple[Finding, ...]:
        n, m = len(recent), len(self._sorted)
        index, bins = psi(recent, self._sorted)
        distance, where = ks(recent, self._sorted)
        bands = (
            self._band(self._psi, wall, max(PSI_LEAST, psi_bound(n, m, bins))),
            self._band(self._ks, wall, max(KS_LEAST, ks_bound(n, m))),
        )
        if self._since_noted >= SCORES and now - self._noted >= SPAN_SECONDS:  # nothing of what was noted is left
            self._noted, self._since_noted = now, 0
            self._psi.note(wall, index)
            self._ks.note(wall, distance)
        median, before = float(np.median(recent)), float(np.median(self._sorted))
        words = f"the last {n:,} scores have median {median:.4g}, those before {before:.4g}"
        return (
            Finding("score_psi", index, bands[0], f"PSI {index:.2f} on {bins} bins: {words}"),
            Finding("score_ks", distance, bands[1], f"KS distance {distance:.2f} at {where:.4g}: {words}"),
        )

    @staticmethod
    def _band(level: Level, wall: float, least: float) -> Band:
        """Return the band of a distance: what is too far by chance, and too far from the distances before."""
        usual = level.usual
        if usual is None or usual.values < MEMORY:
            return Band(-math.inf, 0.0, least)
        band = level.band(wall, noise=least / 100, low=-math.inf, high=least)
        assert band is not None  # there is something usual
        return Band(-math.inf, min(band.middle, least / 2), band.high)


def ks(recent: Float64s, before: Float64s) -> tuple[float, float]:
    """Return the greatest distance of the distribution functions of two sorted samples, and where it is. Pure."""
    n = len(recent)
    above = np.arange(1, n + 1) / n - np.searchsorted(before, recent, side="right") / len(before)
    below = np.searchsorted(before, recent, side="left") / len(before) - np.arange(n) / n
    # Within equal scores only the last (above) and the first (below) are steps of the function; the others lie between.
    most, least = int(np.argmax(above)), int(np.argmax(below))
    return (
        (float(above[most]), float(recent[most]))
        if above[most] >= below[least]
        else (
            float(below[least]),
            float(recent[least]),
        )
    )


def psi(recent: Float64s, before: Float64s) -> tuple[float, int]:
    """Return the population stability index of two sorted samples, and in how many bins. Pure.

    The bins are the deciles of the second: sum of (a - b) ln(a / b) over the bins' shares a and b. Half a score is
    added to each bin, so that an empty one is no infinity.
    """
    edges = np.unique(np.quantile(before, DECILES))
    shares = []
    for sample in (recent, before):
        counts = np.diff(np.searchsorted(sample, edges, side="right"), prepend=0, append=len(sample)) + 0.5
        shares.append(counts / counts.sum())
    return float(np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1]))), len(edges) + 1
