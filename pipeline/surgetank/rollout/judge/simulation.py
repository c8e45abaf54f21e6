"""Simulated steps of a rollout: how soon the judge sees a bad version, how often it blames a good one.

Whole columns of one run are drawn at once, as the counts that workers would report; the judge itself is the real one.
Rows are of two kinds. Independent: each row has a key of its own. Sticky: some thousand keys return again and again,
each with its own rate of errors, its own mean score and its own traffic, several rows in a window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from surgetank.rollout.judge.counts import ShadowCounts, StepCounts, VersionCounts
from surgetank.rollout.judge.paired_test import PairSums
from surgetank.rollout.judge.plan import RolloutStep
from surgetank.rollout.judge.sums import KeySums
from surgetank.rollout.judge.verdict import RULES, Rules, StepDecision, judge

Float64s = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

BINS = 10
WORKERS = 4
SLOW = 0.02  # the share of a worker's seconds in which calls of one version alone are slow
NOT_A_NUMBER = 0.001  # the share of rows
LABELS = 0.1  # the share of rows whose label comes
KEY_DEVIATION = 0.7  # of the mean scores of sticky keys; of all scores it is 1
ENDLESS = float("inf")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A step and what is wrong with the candidate; nothing by default.

    ``rate``: rows per second. ``share`` of the rows that the candidate answers for; None for a shadow of all rows.
    ``errors``: the primary's share of rows with an error, ``factor``: the candidate's is so many times as high; on
    shadow rows the candidate has all errors of the primary and new ones, unless the factor is 1: then half of the
    errors of each are its own. ``shift``: of the candidate's scores, in standard deviations. ``keys``: 0 for
    independent rows, else the number of sticky keys, which count once per ``window`` seconds.
    """

    seconds: int
    rate: float = 2000.0
    share: float | None = 0.05
    errors: float = 0.01
    factor: float = 1.0
    shift: float = 0.0
    keys: int = 0
    window: int = 10

    @property
    def step(self) -> RolloutStep:
        """The step of a plan that never ends by itself."""
        return RolloutStep(self.share, ENDLESS)


def seconds_until_alarm(scenario: Scenario, seed: int, rules: Rules = RULES) -> int | None:
    """Return after how many seconds the judge, asked each second, rolls back or pauses; None if it does not."""
    step = scenario.step
    for second, counts in enumerate(looks(scenario, seed), 1):
        if judge(counts, step, second, rules).decision is not StepDecision.CONTINUE:
            return second
    return None


def looks(scenario: Scenario, seed: int) -> Iterator[StepCounts]:
    """Yield the counts after each second of one run."""
    random = np.random.default_rng(seed)
    seconds = scenario.seconds
    rows = random.poisson(scenario.rate, seconds)
    slow = [
        PairSums.of_independent(only_candidate, only_primary, WORKERS * second)
        for second, (only_candidate, only_primary) in enumerate(
            np.cumsum(random.binomial(WORKERS, SLOW, (seconds, 2)), axis=0).tolist(), 1
        )
    ]
    if scenario.share is None:
        shadows = _sticky_shadow(random, scenario) if scenario.keys else _independent_shadow(random, scenario, rows)
        for shadow, pairs in zip(shadows, slow, strict=True):
            yield StepCounts(shadow=shadow, slow=pairs)
        return
    mine = random.binomial(rows, scenario.share)
    draw = _sticky if scenario.keys else _independent
    candidates, primaries = draw(random, scenario, np.stack((mine, rows - mine)))
    for candidate, primary, pairs in zip(candidates, primaries, slow, strict=True):
        yield StepCounts(candidate, primary, slow=pairs)


def _independent(random: np.random.Generator, scenario: Scenario, rows: Int64s) -> list[list[VersionCounts]]:
    """Return the counts after each second of the candidate and of the primary, for ``rows`` int64 [2, seconds]."""
    return [
        _versions(
            random,
            each,
            _flags(random, each, scenario.errors * (1.0 if primary else scenario.factor)),
            _flags(random, each, NOT_A_NUMBER),
            _normals(random, each, 0.0 if primary else scenario.shift),
            _histograms(random, each, 0.0 if primary else scenario.shift),
        )
        for primary, each in enumerate(rows)
    ]


def _versions(
    random: np.random.Generator,
    rows: Int64s,
    errors: list[KeySums],
    not_a_number: list[KeySums],
    scores: list[KeySums],
    bins: list[list[int]],
) -> list[VersionCounts]:
    losses = _normals(random, random.binomial(rows, LABELS), 1.0)
    parts = zip(np.cumsum(rows).tolist(), errors, not_a_number, scores, bins, losses, strict=True)
    return [
        VersionCounts(total, errors.keys, errors, other, scores, tuple(bins), losses)
        for total, errors, other, scores, bins, losses in parts
    ]


def _flags(random: np.random.Generator, rows: Int64s, rate: float) -> list[KeySums]:
    """Return the sums, after each second, of a flag of independent rows, int64 [seconds]."""
    flagged = np.cumsum(random.binomial(rows, rate)).tolist()
    return [KeySums.of_independent(n, x, x) for n, x in zip(np.cumsum(rows).tolist(), flagged, strict=True)]


def _normals(random: np.random.Generator, rows: Int64s, mean: float) -> list[KeySums]:
    """Return the sums, after each second, of normal values of deviation 1 of independent rows, int64 [seconds]."""
    totals = random.normal(mean * rows, np.sqrt(rows))
    squares = random.chisquare(np.maximum(rows - 1, 1e-9)) + totals**2 / np.maximum(rows, 1)
    parts = (np.cumsum(each).tolist() for each in (rows, totals, np.where(rows > 0, squares, 0.0)))
    return [KeySums.of_independent(n, total, square) for n, total, square in zip(*parts, strict=True)]


def _histograms(random: np.random.Generator, rows: Int64s, shift: float) -> list[list[int]]:
    """Return the histograms, after each second, of normal scores; the bins are deciles of scores without a shift."""
    reference = np.sort(np.random.default_rng(0).normal(size=100_000))
    edges = reference[np.arange(1, BINS) * len(reference) // BINS]
    below = np.searchsorted(reference, edges - shift) / len(reference)
    shares = np.diff(np.concatenate(([0.0], below, [1.0])))
    found: list[list[int]] = np.cumsum(random.multinomial(rows, shares), axis=0).tolist()
    return found


def _independent_shadow(random: np.random.Generator, scenario: Scenario, rows: Int64s) -> list[ShadowCounts]:
    new, lost = _discordant(scenario)
    only_candidate, only_primary = (np.cumsum(random.binomial(rows, rate)).tolist() for rate in (new, lost))
    seen = np.cumsum(rows).tolist()
    differences = _normals(random, rows, scenario.shift)
    return [
        ShadowCounts(n, PairSums.of_independent(s, f, n), PairSums.of_independent(0, 0, n), difference)
        for n, s, f, difference in zip(seen, only_candidate, only_primary, differences, strict=True)
    ]


def _discordant(scenario: Scenario) -> tuple[float, float]:
    """Return the rates of rows where only the candidate errs, and where only the primary does."""
    if scenario.factor == 1:
        return scenario.errors / 2, scenario.errors / 2
    return scenario.errors * (scenario.factor - 1), 0.0


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Sticky keys' blocks: ``rows`` int64 [K, W], ``first`` float64 [K, W]: seconds until the first row of a block."""

    rows: Int64s
    first: Float64s
    start: Int64s  # [1, W]: the second at which each window begins
    window: int

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Whether a key has rows in a window, bool [K, W]."""
        return self.rows > 0

    @property
    def at(self) -> Int64s:
        """The second in which each block is seen first."""
        return self.start + self.first.astype(np.int64)

    def flagged(self, random: np.random.Generator, rates: Float64s) -> tuple[npt.NDArray[np.bool_], Int64s]:
        """Return the blocks with a flag for rates per row and key, float64 [K], and the second of each block's flag."""
        flagged = random.random(self.rows.shape) < 1 - (1 - rates[:, None]) ** self.rows
        later = self.first + random.random(self.rows.shape) * (self.window - self.first)
        return flagged, self.start + np.minimum(later, self.window - 1e-9).astype(np.int64)


def _blocks(random: np.random.Generator, scenario: Scenario) -> _Blocks:
    """Draw the rows of keys whose traffic differs (gamma with shape 1/2: a few busy keys, many quiet ones)."""
    windows = scenario.seconds // scenario.window
    per_window = random.gamma(0.5, 2 * scenario.rate * scenario.window / scenario.keys, (scenario.keys, 1))
    rows = random.poisson(per_window, (scenario.keys, windows))
    first = scenario.window * (1 - random.random(rows.shape) ** (1 / np.maximum(rows, 1)))
    start = (np.arange(windows) * scenario.window)[None, :]
    return _Blocks(rows, np.minimum(first, scenario.window - 1e-9), start, scenario.window)


def _own_rates(random: np.random.Generator, keys: int, mean: float) -> Float64s:
    """Draw rates per key, float64 [keys]: a beta distribution with its mass at a few bad keys."""
    return random.beta(0.2, 0.2 * (1 / mean - 1), keys)


def _sticky(random: np.random.Generator, scenario: Scenario, rows: Int64s) -> list[list[VersionCounts]]:
    """Return the counts after each second of the candidate and of the primary."""
    assert scenario.share is not None
    blocks = _blocks(random, scenario)
    mine = random.random(scenario.keys) < scenario.share
    rates = np.minimum(_own_rates(random, scenario.keys, scenario.errors) * np.where(mine, scenario.factor, 1.0), 1.0)
    errors = blocks.flagged(random, rates)
    others = blocks.flagged(random, _own_rates(random, scenario.keys, NOT_A_NUMBER))
    own = random.normal(0, KEY_DEVIATION, (scenario.keys, 1)) + np.where(mine[:, None], scenario.shift, 0.0)
    scores = own + random.normal(0, np.sqrt(1 - KEY_DEVIATION**2), blocks.rows.shape)
    both = []
    for each, seconds in ((mine, rows[0]), (~mine, rows[1])):
        part = _Blocks(blocks.rows[each], blocks.first[each], blocks.start, blocks.window)
        raised, bad = (_flag_sums(part, flags[each], at[each], scenario.seconds) for flags, at in (errors, others))
        values, bins = _value_sums(part, scores[each], scenario.seconds)
        both.append(_versions(random, seconds, raised, bad, values, bins))
    return both


def _sticky_shadow(random: np.random.Generator, scenario: Scenario) -> list[ShadowCounts]:
    """Each version has keys on which it errs alone, again and again."""
    blocks = _blocks(random, scenario)
    new, lost = _discordant(scenario)
    mine, mine_at = blocks.flagged(random, _own_rates(random, scenario.keys, new))
    theirs, theirs_at = blocks.flagged(random, _own_rates(random, scenario.keys, max(lost, 1e-9)))
    mine, theirs = mine & ~theirs, theirs & ~mine
    signs, at = mine.astype(np.int64) - theirs, np.where(mine, mine_at, theirs_at)
    sums = _change_sums(blocks, signs, at, scenario.seconds)
    counts = [
        np.cumsum(np.bincount(at[each], minlength=scenario.seconds)).tolist() for each in (mine & blocks.seen, theirs)
    ]
    return [
        ShadowCounts(sum_.blocks, PairSums(s, f, sum_), PairSums(0, 0, sum_), KeySums())
        for sum_, s, f in zip(sums, *counts, strict=True)
    ]


def _flag_sums(blocks: _Blocks, flags: npt.NDArray[np.bool_], at: Int64s, seconds: int) -> list[KeySums]:
    return _change_sums(blocks, flags.astype(np.int64), at, seconds)


def _change_sums(blocks: _Blocks, change: Int64s, at: Int64s, seconds: int) -> list[KeySums]:
    """Return the sums after each second; a block changes its key's total by ``change``, int64 [K, W], at a second."""
    seen = blocks.seen
    n, total = _before(seen.astype(np.int64)), _before(change)
    changed = change != 0
    first, second = blocks.at[seen], at[changed]
    n_seen, n_changed, d, y = n[seen], n[changed] + 1, change[changed], total[changed]
    return _cumulated(
        seconds,
        keys=((first, n_seen == 0),),
        blocks=((first, np.ones(len(first))),),
        total=((second, d),),
        squares=((second, 2 * y * d + d * d),),
        products=((first, total[seen]), (second, d * n_changed)),
        blocks_squared=((first, 2 * n_seen + 1),),
    )


def _value_sums(blocks: _Blocks, values: Float64s, seconds: int) -> tuple[list[KeySums], list[list[int]]]:
    """Return the sums, and the histograms of the keys' first values, after each second."""
    seen = blocks.seen
    n, total = _before(seen.astype(np.int64))[seen], _before(np.where(seen, values, 0.0))[seen]
    first, y = blocks.at[seen], values[seen]
    sums = _cumulated(
        seconds,
        keys=((first, n == 0),),
        blocks=((first, np.ones(len(first))),),
        total=((first, y),),
        squares=((first, 2 * total * y + y * y),),
        products=((first, total + y * (n + 1)),),
        blocks_squared=((first, 2 * n + 1),),
    )
    edges = np.quantile(np.random.default_rng(0).normal(size=10_000), np.arange(1, BINS) / BINS)
    index = first[n == 0] * BINS + np.searchsorted(edges, y[n == 0])
    bins: list[list[int]] = np.cumsum(np.bincount(index, minlength=seconds * BINS).reshape(-1, BINS), axis=0).tolist()
    return sums, bins


def _before(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the sums of each key's earlier windows, [K, W]."""
    before: npt.NDArray[Any] = np.cumsum(values, axis=1) - values
    return before


def _cumulated(seconds: int, **changes: tuple[tuple[Int64s, npt.NDArray[Any]], ...]) -> list[KeySums]:
    """Return the sums after each second, of changes by field: seconds int64 [c] and amounts [c]."""
    columns = {
        name: np.cumsum(sum(np.bincount(at, weights=amount, minlength=seconds) for at, amount in parts))
        for name, parts in changes.items()
    }
    whole = {"keys", "blocks", "blocks_squared"}
    lists = [
        (np.rint(column).astype(np.int64) if name in whole else column).tolist() for name, column in columns.items()
    ]
    return [KeySums(*each) for each in zip(*lists, strict=True)]
