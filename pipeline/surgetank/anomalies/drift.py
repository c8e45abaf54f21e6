"""Detectors of a changed score distribution: population stability index (PSI) on deciles, Kolmogorov-Smirnov distance.

The last 1,000 scores are compared with a sample of the last hour (at low rates: of the last 11,520 scores). A score
enters the reference sample only after it has left the last 1,000. Memory is fixed, and no bins are set in advance. At
high rates the recent scores are sampled too.
"""

import math
from collections import deque

import numpy as np
import numpy.typing as npt

from surgetank.anomalies.alarm import Finding
from surgetank.anomalies.baseline import MEDIAN, Band, BaselineTracker, quantiles
from surgetank.anomalies.bounds import ks_bound, psi_bound
from surgetank.anomalies.count_detectors import WINDOW_SECONDS

Float64s = npt.NDArray[np.float64]

RECENT_SCORES = 1000
NEW_SCORES_MIN = 100  # new scores before the next evaluation
BLOCK = 64  # scores per block of the reference
BLOCKS = 180
BLOCKS_MIN = 15
KS_MIN = 0.14  # smaller distances are ignored; a shift by half a standard deviation gives 0.2
PSI_MIN = 0.15  # common practice: 0.1 is worth watching, 0.25 worth acting on
DECILES = np.linspace(0.1, 0.9, 9)
DISTANCES_MIN = 30  # past distances before they set the band


class Drift:
    """Compares the distribution of recent scores with the reference. ``seed`` is the seed of the sampling."""

    signals = ("score_psi", "score_ks")

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._psi, self._ks = BaselineTracker(), BaselineTracker()
        self.reset()

    def reset(self) -> None:
        """Forget the reference and the past distances."""
        self._new: list[Float64s] = []  # arrived since the last evaluation
        self._recent: deque[Float64s] = deque()
        self._block: list[Float64s] = []  # the block that is being filled
        self._block_closed_at = -math.inf
        self._blocks: deque[Float64s] = deque(maxlen=BLOCKS)
        self._reference = np.zeros(0)
        self._added_at, self._since_added = -math.inf, 0
        self._psi.reset()
        self._ks.reset()

    def evaluate(self, now: float, wall: float, scores: Float64s) -> tuple[Finding, ...]:
        """Evaluate with new scores, float64 [n]; ``now`` is monotonic seconds, ``wall`` seconds since the epoch."""
        if len(scores):
            self._new.append(self._thinned(scores, 4 * RECENT_SCORES))
        if sum(map(len, self._new)) < NEW_SCORES_MIN:
            return ()
        new, self._new = np.concatenate(self._new), []
        self._recent.append(new)
        while sum(map(len, self._recent)) - len(self._recent[0]) >= RECENT_SCORES:
            self._retire(now, self._recent.popleft())
        self._since_added += len(new)
        recent = np.sort(np.concatenate(self._recent))
        if len(recent) < RECENT_SCORES or len(self._blocks) < BLOCKS_MIN:
            return ()
        return self._assess(now, wall, recent)

    def _retire(self, now: float, scores: Float64s) -> None:
        self._block.append(scores)
        if now - self._block_closed_at >= WINDOW_SECONDS and sum(map(len, self._block)) >= BLOCK:
            new = np.sort(self._thinned(np.concatenate(self._block), BLOCK))
            self._block, self._block_closed_at = [], now
            if len(self._blocks) == BLOCKS:
                self._reference = without(self._reference, self._blocks[0])
            self._blocks.append(new)
            # A stable sort merges what is sorted already.
            self._reference = np.sort(np.concatenate((self._reference, new)), kind="stable")
        elif sum(map(len, self._block)) > 4 * RECENT_SCORES:
            self._block = [self._thinned(np.concatenate(self._block), 2 * RECENT_SCORES)]

    def _thinned(self, scores: Float64s, count: int) -> Float64s:
        return scores if len(scores) <= count else self._random.choice(scores, count, replace=False)

    def _assess(self, now: float, wall: float, recent: Float64s) -> tuple[Finding, ...]:
        n, m = len(recent), len(self._reference)
        index, bins = psi(recent, self._reference)
        distance, where = ks(recent, self._reference)
        bands = (
            self._band(self._psi, wall, max(PSI_MIN, psi_bound(n, m, bins))),
            self._band(self._ks, wall, max(KS_MIN, ks_bound(n, m))),
        )
        # Add a distance only when the recent scores have been replaced since the last one.
        if self._since_added >= RECENT_SCORES and now - self._added_at >= WINDOW_SECONDS:
            self._added_at, self._since_added = now, 0
            self._psi.add(wall, index)
            self._ks.add(wall, distance)
        median, before = (float(quantiles(scores, MEDIAN)[0]) for scores in (recent, self._reference))
        description = f"the last {n:,} scores have median {median:.4g}, those before {before:.4g}"
        return (
            Finding("score_psi", index, bands[0], f"PSI {index:.2f} on {bins} bins: {description}"),
            Finding("score_ks", distance, bands[1], f"KS distance {distance:.2f} at {where:.4g}: {description}"),
        )

    @staticmethod
    def _band(tracker: BaselineTracker, wall: float, least: float) -> Band:
        """Return the band of a distance: up to ``least``, or to the threshold from past distances if that is higher."""
        baseline = tracker.baseline
        if baseline is None or baseline.values < DISTANCES_MIN:
            return Band(-math.inf, 0.0, least)
        band = tracker.band(wall, noise=least / 100, low=-math.inf, high=least)
        assert band is not None  # there is a baseline
        return Band(-math.inf, min(band.center, least / 2), band.high)


def without(ordered: Float64s, removed: Float64s) -> Float64s:
    """Return a sorted sample, float64 [n], without the values of another one, float64 [k], each removed once. Pure."""
    rank = np.arange(len(removed)) - np.searchsorted(removed, removed)  # among equal values
    return np.delete(ordered, np.searchsorted(ordered, removed) + rank)


def ks(recent: Float64s, before: Float64s) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of two sorted samples, float64 [n] and [m], and its location. Pure."""
    n = len(recent)
    above = np.arange(1, n + 1) / n - np.searchsorted(before, recent, side="right") / len(before)
    below = np.searchsorted(before, recent, side="left") / len(before) - np.arange(n) / n
    # Among equal scores the distribution function steps only at the last (above) and the first (below).
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
    """Return the population stability index of two sorted samples, float64 [n] and [m], and the number of bins. Pure.

    The bins are the deciles of ``before``: sum of (a - b) ln(a / b) over the bins' shares a and b. Half a score is
    added to each bin to keep the logarithm finite.
    """
    deciles = quantiles(before, DECILES)
    edges = np.concatenate((deciles[:1], deciles[1:][deciles[1:] > deciles[:-1]]))
    shares = []
    for sample in (recent, before):
        ends = np.concatenate(([0], np.searchsorted(sample, edges, side="right"), [len(sample)]))
        counts = ends[1:] - ends[:-1] + 0.5
        shares.append(counts / counts.sum())
    return float(np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1]))), len(edges) + 1
