"""What a worker measures for the judge: its batches, in whole columns, become counts of one step of a rollout.

Rows are buffered for a second and then counted at once, so that a batch costs little more than a place in a list.
"""

import numpy as np
import numpy.typing as npt

from surgetank.rollout.judge.blocks import KEYS_MAX, BlockTable, ScoreScale
from surgetank.rollout.judge.counts import ShadowCounts, StepCounts, VersionCounts
from surgetank.rollout.judge.paired_test import PairSums
from surgetank.rollout.judge.sums import KeySums

Bools = npt.NDArray[np.bool_]
Int32s = npt.NDArray[np.int32]
UInt64s = npt.NDArray[np.uint64]
Float64s = npt.NDArray[np.float64]

WINDOW_SECONDS = 10.0  # a key counts once in it
ROWS_PER_SECOND_MAX = 1 << 15  # of a version; of more rows, a part of the keys is counted
PRIMARY, CANDIDATE = 0, 1
RAISED, NOT_FINITE = 0, 1
ONLY_CANDIDATE_RAISED, ONLY_PRIMARY_RAISED, ONLY_CANDIDATE_NOT_FINITE, ONLY_PRIMARY_NOT_FINITE = range(4)


class StepMeasurements:
    """Counts of one worker since the start of one step. For one thread; times are seconds that do not decrease.

    ``scale`` is the same for all workers. A call slower than ``latency_bound`` seconds is slow. Rows without a key are
    not measured: leave them out, since no canary answers for them.
    """

    def __init__(
        self,
        scale: ScoreScale,
        latency_bound: float,
        window_seconds: float = WINDOW_SECONDS,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._window_seconds = window_seconds
        self._versions = tuple(_VersionRows(scale, keys_max) for _ in (PRIMARY, CANDIDATE))
        self._shadow = _Buffered(BlockTable(4, scale.of_differences, keys_max))
        self._slow = _SlowSeconds(latency_bound)

    def add_answers(self, now: float, keys: UInt64s, version: Int32s, scores: Float64s, raised: Bools) -> None:
        """Add rows that were answered: ``keys`` uint64 [m], stable hashes of their keys; ``version`` int32 [m], 0 for
        the primary and 1 for the candidate; ``scores`` float64 [m], anything where ``raised``, bool [m], is set.
        """
        window = self._window(now)
        for number, rows in enumerate(self._versions):
            chosen = version == number
            if chosen.all():
                rows.add(now, window, keys, scores, raised)
                return
            if chosen.any():
                rows.add(now, window, keys[chosen], scores[chosen], raised[chosen])

    def add_shadow(
        self,
        now: float,
        keys: UInt64s,
        primary: tuple[Float64s, Bools],
        candidate: tuple[Float64s, Bools],
    ) -> None:
        """Add rows that both versions scored: ``keys`` uint64 [m], and of each version scores and raised as above."""
        (theirs, theirs_raised), (mine, mine_raised) = primary, candidate
        mine_bad, theirs_bad = ~np.isfinite(mine) & ~mine_raised, ~np.isfinite(theirs) & ~theirs_raised
        flags = np.stack(
            (
                mine_raised & ~theirs_raised,
                theirs_raised & ~mine_raised,
                mine_bad & ~theirs_bad,
                theirs_bad & ~mine_bad,
            )
        )
        comparable = ~(mine_raised | theirs_raised | mine_bad | theirs_bad)
        differences = np.full(len(keys), np.nan)
        np.subtract(mine, theirs, out=differences, where=comparable)
        self._shadow.add(now, self._window(now), keys, flags, differences)

    def add_call(self, now: float, version: int, seconds: float) -> None:
        """Add a call of a model: ``version`` is 0 for the primary and 1 for the candidate."""
        self._slow.add(now, version, seconds)

    def add_losses(self, now: float, keys: UInt64s, version: int, losses: Float64s) -> None:
        """Add rows whose labels came: ``losses`` float64 [m] of the scores that a version gave for them."""
        no_flags = np.zeros((0, len(keys)), dtype=np.bool_)
        self._versions[version].losses.add(now, self._window(now), keys, no_flags, losses)

    def counts(self) -> StepCounts:
        """Return all counts since the start of the step."""
        primary, candidate = self._versions
        _same_sample(primary.answers.flush(), candidate.answers.flush())
        _same_sample(primary.losses.flush(), candidate.losses.flush())
        table = self._shadow.flush()
        shadow = ShadowCounts(
            self._shadow.rows,
            table.pair_sums(ONLY_CANDIDATE_RAISED, ONLY_PRIMARY_RAISED),
            table.pair_sums(ONLY_CANDIDATE_NOT_FINITE, ONLY_PRIMARY_NOT_FINITE),
            table.value_sums(),
        )
        return StepCounts(candidate.counts(), primary.counts(), shadow, self._slow.pairs())

    def _window(self, now: float) -> int:
        return int(now // self._window_seconds)


class _Buffered:
    """A table, and rows that wait to be counted."""

    def __init__(self, table: BlockTable) -> None:
        self.table = table
        self.rows = 0
        self._columns: list[tuple[UInt64s, Bools, Float64s]] = []
        self._waiting = 0
        self._since, self._window = -np.inf, 0

    def add(self, now: float, window: int, keys: UInt64s, flags: Bools, values: Float64s) -> None:
        """Keep rows; count those that wait if they are a second old or of another window.

        If they are too many before that, the table goes on with half of its keys: for the whole step, since a sample
        of some seconds only would compare times with more and with fewer errors.
        """
        self.rows += len(keys)
        if (chosen := self.table.sampled(keys)) is not None:
            keys, flags, values = keys[chosen], flags[:, chosen], values[chosen]
        if window != self._window or now - self._since >= 1:
            self.flush()
            self._since, self._window = now, window
        elif self._waiting + len(keys) > ROWS_PER_SECOND_MAX:
            self.flush()
            self.table.halve()
        self._columns.append((keys, flags, values))
        self._waiting += len(keys)

    def flush(self) -> BlockTable:
        """Count the rows that wait."""
        if self._columns:
            keys, flags, values = zip(*self._columns, strict=True)
            self._columns, self._waiting = [], 0
            self.table.add(self._window, np.concatenate(keys), np.concatenate(flags, axis=1), np.concatenate(values))
        return self.table


def _same_sample(first: BlockTable, second: BlockTable) -> None:
    """Let both tables count the same part of the keys.

    Otherwise a version would have less weight in this worker than in others, whose rows may have more errors or fewer.
    """
    for table in (first, second):
        while table.limit > min(first.limit, second.limit):
            table.halve()


class _VersionRows:
    """The answers of one version, and the losses of those whose labels came."""

    def __init__(self, scale: ScoreScale, keys_max: int) -> None:
        self.answers = _Buffered(BlockTable(2, scale, keys_max))
        self.losses = _Buffered(BlockTable(0, ScoreScale(), keys_max))

    def add(self, now: float, window: int, keys: UInt64s, scores: Float64s, raised: Bools) -> None:
        flags = np.stack((raised, ~np.isfinite(scores) & ~raised))
        self.answers.add(now, window, keys, flags, np.where(raised, np.nan, scores))

    def counts(self) -> VersionCounts:
        """Return the counts of rows that do not wait."""
        table = self.answers.table
        errors = table.flag_sums(RAISED)
        return VersionCounts(
            self.answers.rows,
            errors.keys,
            errors,
            table.flag_sums(NOT_FINITE),
            table.value_sums(),
            table.bins(),
            self.losses.table.value_sums() if self.losses.rows else KeySums(),
        )


class _SlowSeconds:
    """Seconds in which both versions were called, by which of them had a slow call."""

    def __init__(self, bound: float) -> None:
        self._bound = bound
        self._second = -1
        self._called, self._slow = [False, False], [False, False]
        self._pairs = PairSums()

    def add(self, now: float, version: int, seconds: float) -> None:
        """Add a call."""
        if int(now) != self._second:
            self._pairs, self._second = self.pairs(), int(now)
            self._called, self._slow = [False, False], [False, False]
        self._called[version] = True
        self._slow[version] |= seconds > self._bound

    def pairs(self) -> PairSums:
        """Return the seconds so far, with the one in progress."""
        if not all(self._called):
            return self._pairs
        mine, theirs = self._slow[CANDIDATE], self._slow[PRIMARY]
        return self._pairs + PairSums.of_independent(int(mine and not theirs), int(theirs and not mine), 1)
