"""Counts of blocks: a key counts once in a window of time, however many rows it has there. Bounded memory.

A table has the keys that one version scored since the start of a step. When it is full, it keeps those whose hash is
in the lower half, and from then on ignores the others: a sample of keys, chosen without regard to what they did. The
counts are those of the keys in the table, so they are as if only these keys had ever been seen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgetank.rollout.judge.paired_test import PairSums
from surgetank.rollout.judge.sums import KeySums

Bools = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Float64s = npt.NDArray[np.float64]

KEYS_MAX = 1 << 16
NEVER = np.iinfo(np.int64).min
ALL_KEYS = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class ScoreScale:
    """A scale of scores that all workers of a step share.

    Scores count as (score - ``middle``) / ``deviation``, so that sums of squares stay exact and limits have no unit.
    ``edges``, ascending, are the bounds of the bins: a score equal to an edge is in the bin below it.
    """

    middle: float = 0.0
    deviation: float = 1.0
    edges: tuple[float, ...] = ()

    @classmethod
    def of(cls, scores: Float64s) -> "ScoreScale":
        """Return the scale whose edges are the distinct deciles of finite ``scores``, float64 [n]; n may be 0."""
        finite = scores[np.isfinite(scores)]
        if not len(finite):
            return cls()
        deciles = np.quantile(finite, np.arange(1, 10) / 10)
        return cls(float(deciles[4]), float(finite.std()) or 1.0, tuple(np.unique(deciles).tolist()))

    @property
    def of_differences(self) -> "ScoreScale":
        """The scale of differences of two scores."""
        return ScoreScale(deviation=self.deviation)


class BlockTable:
    """Blocks of one version's rows, or of rows that two versions scored: ``flags`` flags and one value of each.

    Memory: ``keys_max`` keys of (50 + 16 flags) bytes. For one thread.
    """

    def __init__(self, flags: int, scale: ScoreScale, keys_max: int = KEYS_MAX) -> None:
        self._scale = scale
        self._keys_max = keys_max
        self._limit = ALL_KEYS
        self._keys: UInt64s = np.empty(0, dtype=np.uint64)  # mixed hashes, ascending
        # By count and key: blocks seen, blocks with a value, and blocks with each flag.
        self._counts: Int64s = np.empty((2 + flags, 0), dtype=np.int64)
        self._counted_in: Int64s = np.empty((2 + flags, 0), dtype=np.int64)  # the last window of each
        self._values: Float64s = np.empty(0, dtype=np.float64)
        self._bins: npt.NDArray[np.int16] = np.empty(0, dtype=np.int16)

    @property
    def limit(self) -> int:
        """Keys whose mixed hash is at most this are counted; 2^64 - 1 if all are."""
        return self._limit

    def add(self, window: int, keys: UInt64s, flags: Bools, values: Float64s) -> None:
        """Add rows of one window: ``keys`` uint64 [m], hashes; ``flags`` bool [f, m]; ``values`` float64 [m].

        NaN and infinity are no values. Windows are numbers that do not decrease. A block has a flag if one of its rows
        has, and the value of its first row that has one; in which calls the rows arrive does not matter.
        """
        mixed = mix(keys)
        if self._limit != ALL_KEYS:
            chosen = np.flatnonzero(mixed <= np.uint64(self._limit))
            mixed, flags, values = mixed[chosen], flags[:, chosen], values[chosen]
        m = len(mixed)
        if not m:
            return
        order = np.argsort(mixed, kind="stable")
        ordered = mixed[order]
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
        # The first row of each key that has a value; m if there is none.
        first = np.minimum.reduceat(np.where(np.isfinite(values), np.arange(m), m)[order], starts)
        happened = np.concatenate(
            (
                np.ones((1, len(starts)), dtype=np.bool_),
                (first < m)[None, :],
                np.logical_or.reduceat(flags[:, order], starts, axis=1),
            )
        )
        self._count(window, ordered[starts], happened, np.append(values, 0.0)[first])
        while len(self._keys) > self._keys_max:
            self._limit //= 2
            self._keep(self._keys <= np.uint64(self._limit))

    def _count(self, window: int, keys: UInt64s, happened: Bools, values: Float64s) -> None:
        """Count what happened to distinct keys, bool [2 + f, k], in a window; each once per window."""
        at = self._places(keys)
        new = happened & (self._counted_in[:, at] != window)
        self._counts[:, at] += new
        self._counted_in[:, at] = np.where(happened, window, self._counted_in[:, at])
        scaled = (values - self._scale.middle) / self._scale.deviation
        self._values[at] += np.where(new[1], scaled, 0.0)
        if self._scale.edges:
            first = np.flatnonzero(new[1] & (self._bins[at] < 0))
            self._bins[at[first]] = np.searchsorted(self._scale.edges, values[first], side="left")

    def _places(self, keys: UInt64s) -> Int64s:
        """Return where ascending distinct keys are in the table; those that it lacks are inserted."""
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), dtype=np.bool_)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == keys[inside]
        if known.all():
            return at
        before = at[~known]
        self._keys = np.insert(self._keys, before, keys[~known])
        self._counts = np.insert(self._counts, before, 0, axis=1)
        self._counted_in = np.insert(self._counted_in, before, NEVER, axis=1)
        self._values = np.insert(self._values, before, 0.0)
        self._bins = np.insert(self._bins, before, -1)
        return np.searchsorted(self._keys, keys)

    def _keep(self, kept: Bools) -> None:
        self._keys = self._keys[kept]
        self._counts, self._counted_in = self._counts[:, kept], self._counted_in[:, kept]
        self._values, self._bins = self._values[kept], self._bins[kept]

    def keys_up_to(self, limit: int) -> int:
        """Return the number of keys whose mixed hash is at most ``limit``."""
        return int(np.searchsorted(self._keys, np.uint64(limit), side="right"))

    def flag_sums(self, flag: int) -> KeySums:
        """Return the sums of a flag's blocks."""
        return _sums(self._counts[0], self._counts[2 + flag].astype(np.float64))

    def pair_sums(self, candidate: int, primary: int) -> PairSums:
        """Return the comparison of two flags that no row has both: what only the candidate, or the primary, did."""
        mine, theirs = self._counts[2 + candidate], self._counts[2 + primary]
        difference = _sums(self._counts[0], (mine - theirs).astype(np.float64))
        return PairSums(int(mine.sum()), int(theirs.sum()), difference)

    def value_sums(self) -> KeySums:
        """Return the sums of the scaled values of blocks that have one."""
        some = self._counts[1] > 0
        return _sums(self._counts[1][some], self._values[some])

    def bins(self) -> tuple[int, ...]:
        """Return the keys by the bin of their first value; empty without a scale that has edges."""
        if not self._scale.edges:
            return ()
        found = np.bincount(self._bins[self._bins >= 0], minlength=len(self._scale.edges) + 1)
        return tuple(found.tolist())


def mix(keys: UInt64s) -> UInt64s:
    """Return other hashes of hashes, uint64 [n]: a sample by these is independent of a canary by ``keys``.

    The finalizer of SplitMix64 (Steele, Lea and Flood 2014), after an odd constant was added.
    """
    state = keys + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _sums(blocks: Int64s, totals: Float64s) -> KeySums:
    """Return the sums over keys: ``blocks`` int64 [k], ``totals`` float64 [k]."""
    return KeySums(
        len(blocks),
        int(blocks.sum()),
        float(totals.sum()),
        float(totals @ totals),
        float(totals @ blocks),
        int(blocks @ blocks),
    )
