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
COLUMNS = 64  # at first
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

    Memory: at most about ``keys_max`` keys of (116 + 32 flags) bytes. For one thread.
    """

    def __init__(self, flags: int, scale: ScoreScale, keys_max: int = KEYS_MAX) -> None:
        self._scale = scale
        self._keys_max = keys_max
        self._limit = ALL_KEYS
        self._keys: UInt64s = np.empty(0, dtype=np.uint64)  # mixed hashes, ascending
        self._column: Int64s = np.empty(0, dtype=np.int64)  # the column of each key, in the arrays below
        # By count and column: blocks seen, blocks with a value, and blocks with each flag.
        self._counts: Int64s = np.zeros((2 + flags, COLUMNS), dtype=np.int64)
        self._counted_in: Int64s = np.full((2 + flags, COLUMNS), NEVER)  # the last window of each
        self._values: Float64s = np.zeros(COLUMNS)
        self._bins: npt.NDArray[np.int16] = np.full(COLUMNS, -1, dtype=np.int16)

    @property
    def limit(self) -> int:
        """Keys whose mixed hash is at most this are counted; 2^64 - 1 if all are."""
        return self._limit

    def add(self, window: int, keys: UInt64s, flags: Bools, values: Float64s) -> None:
        """Add rows of one window: ``keys`` uint64 [m], hashes; ``flags`` bool [f, m]; ``values`` float64 [m].

        NaN and infinity are no values. Windows are numbers that do not decrease. A block has a flag if one of its rows
        has, and the value of its first row that has one; in which calls the rows arrive does not matter.
        """
        if (chosen := self.sampled(keys)) is not None:
            keys, flags, values = keys[chosen], flags[:, chosen], values[chosen]
        mixed = mix(keys)
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
            self.halve()

    def _count(self, window: int, keys: UInt64s, happened: Bools, values: Float64s) -> None:
        """Count what happened to distinct keys, bool [2 + f, k], in a window; each once per window."""
        at = self._columns(keys)
        new = happened & (self._counted_in[:, at] != window)
        self._counts[:, at] += new
        self._counted_in[:, at] = np.where(happened, window, self._counted_in[:, at])
        scaled = (values - self._scale.middle) / self._scale.deviation
        self._values[at] += np.where(new[1], scaled, 0.0)
        if self._scale.edges:
            first = np.flatnonzero(new[1] & (self._bins[at] < 0))
            self._bins[at[first]] = np.searchsorted(self._scale.edges, values[first], side="left")

    def _columns(self, keys: UInt64s) -> Int64s:
        """Return the columns of ascending distinct keys; those that are not in the table get new ones."""
        at = np.searchsorted(self._keys, keys)
        known = np.zeros(len(keys), dtype=np.bool_)
        inside = at < len(self._keys)
        known[inside] = self._keys[at[inside]] == keys[inside]
        columns = np.empty(len(keys), dtype=np.int64)
        columns[known] = self._column[at[known]]
        if not known.all():
            used, more = len(self._keys), len(keys) - int(known.sum())
            columns[~known] = np.arange(used, used + more)
            self._keys = np.insert(self._keys, at[~known], keys[~known])
            self._column = np.insert(self._column, at[~known], columns[~known])
            self._grow(used + more)
        return columns

    def _grow(self, columns: int) -> None:
        """Make room for at least so many columns."""
        have = len(self._values)
        if columns <= have:
            return
        more = max(columns, 2 * have) - have
        self._counts = np.pad(self._counts, ((0, 0), (0, more)))
        self._counted_in = np.pad(self._counted_in, ((0, 0), (0, more)), constant_values=NEVER)
        self._values = np.pad(self._values, (0, more))
        self._bins = np.pad(self._bins, (0, more), constant_values=-1)

    def halve(self) -> None:
        """Keep, and from now on count, the keys in the lower half of the hashes only."""
        self._limit //= 2
        kept = self._column[: self._keys_up_to(self._limit)]
        self._keys, self._column = self._keys[: len(kept)], np.arange(len(kept))
        self._counts, self._counted_in = self._counts[:, kept], self._counted_in[:, kept]
        self._values, self._bins = self._values[kept], self._bins[kept]

    def sampled(self, keys: UInt64s) -> Int64s | None:
        """Return which rows are counted, int64 [k], by their keys' hashes; None if all are."""
        return None if self._limit == ALL_KEYS else np.flatnonzero(mix(keys) <= np.uint64(self._limit))

    def _keys_up_to(self, limit: int) -> int:
        """Return the number of keys whose mixed hash is at most ``limit``."""
        return int(np.searchsorted(self._keys, np.uint64(limit), side="right"))

    @property
    def _used(self) -> Int64s:
        return self._counts[:, : len(self._keys)]

    def flag_sums(self, flag: int) -> KeySums:
        """Return the sums of a flag's blocks."""
        counts = self._used
        return _sums(counts[0], counts[2 + flag].astype(np.float64))

    def pair_sums(self, candidate: int, primary: int) -> PairSums:
        """Return the comparison of two flags that no row has both: what only the candidate, or the primary, did."""
        counts = self._used
        mine, theirs = counts[2 + candidate], counts[2 + primary]
        difference = _sums(counts[0], (mine - theirs).astype(np.float64))
        return PairSums(int(mine.sum()), int(theirs.sum()), difference)

    def value_sums(self) -> KeySums:
        """Return the sums of the scaled values of blocks that have one."""
        blocks, values = self._used[1], self._values[: len(self._keys)]
        some = blocks > 0
        return _sums(blocks[some], values[some])

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
    """Return the sums over keys: ``blocks`` int64 [k], ``totals`` float64 [k]. Not by BLAS, which starts threads."""
    return KeySums(
        len(blocks),
        int(blocks.sum()),
        float(totals.sum()),
        float((totals * totals).sum()),
        float((totals * blocks).sum()),
        int((blocks * blocks).sum()),
    )
