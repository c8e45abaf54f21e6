"""Counting by key and window: blocks, their sums, and the bounded table behind them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.rollout.judge.blocks import ALL_KEYS, BlockTable, ScoreScale, mix
from surgetank.rollout.judge.sums import KeySums

SCALE = ScoreScale(0.5, 2.0, (0.2, 0.4, 0.6))
ROW = st.tuples(
    st.integers(0, 4),  # window
    st.integers(0, 6),  # key
    st.booleans(),
    st.booleans(),
    st.sampled_from([0.0, 0.2, 0.3, 0.7, 1.0, float("nan"), float("inf")]),
)


def added(rows: list[tuple[int, int, bool, bool, float]], cuts: set[int], keys_max: int = 100) -> BlockTable:
    """Return a table with rows in the order of their windows, in batches that end before the positions of ``cuts``."""
    table = BlockTable(2, SCALE, keys_max)
    rows = sorted(rows, key=lambda row: row[0])
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop == len(rows) or stop in cuts or rows[stop][0] != rows[start][0]:
            window, keys, first, second, values = zip(*rows[start:stop], strict=True)
            table.add(
                window[0],
                np.array(keys, dtype=np.uint64),
                np.array([first, second], dtype=np.bool_),
                np.array(values, dtype=np.float64),
            )
            start = stop
    return table


def expected(rows: list[tuple[int, int, bool, bool, float]], flag: int) -> KeySums:
    """Return the sums of a flag, counted one by one."""
    keys = {row[1] for row in rows}
    n = {key: len({row[0] for row in rows if row[1] == key}) for key in keys}
    x = {key: len({row[0] for row in rows if row[1] == key and row[2 + flag]}) for key in keys}
    return KeySums(
        len(keys),
        sum(n.values()),
        sum(x.values()),
        sum(each * each for each in x.values()),
        sum(x[key] * n[key] for key in keys),
        sum(each * each for each in n.values()),
    )


@given(st.lists(ROW, max_size=60), st.sets(st.integers(1, 60)))
def test_blocks_are_counted_once_however_rows_are_batched(
    rows: list[tuple[int, int, bool, bool, float]], cuts: set[int]
) -> None:
    """As counted one by one: flags, and the first value of each block."""
    table = added(rows, cuts)
    assert (table.flag_sums(0), table.flag_sums(1)) == (expected(rows, 0), expected(rows, 1))
    first: dict[tuple[int, int], float] = {}
    for window, key, _, _, value in sorted(rows, key=lambda row: row[0]):
        if np.isfinite(value):
            first.setdefault((key, window), value)
    values = table.value_sums()
    assert values.keys == len({key for key, _ in first})
    assert values.blocks == len(first)
    assert values.total == pytest.approx(sum((value - 0.5) / 2 for value in first.values()))
    earliest: dict[int, float] = {}
    for (key, _), value in sorted(first.items(), key=lambda item: item[0][1]):
        earliest.setdefault(key, value)
    bins = [0] * 4
    for value in earliest.values():
        bins[sum(value > edge for edge in SCALE.edges)] += 1
    assert table.bins() == tuple(bins)


def test_pairs_are_compared_by_key() -> None:
    """A key where both versions err alone, in different windows, has no difference."""
    table = BlockTable(2, ScoreScale())
    nothing = np.full(2, np.nan)
    table.add(0, np.array([1, 2], dtype=np.uint64), np.array([[True, True], [False, False]]), nothing)
    table.add(1, np.array([1, 2], dtype=np.uint64), np.array([[True, False], [False, True]]), nothing)
    pairs = table.pair_sums(0, 1)
    assert (pairs.only_candidate, pairs.only_primary) == (3, 1)
    assert pairs.difference == KeySums(2, 4, 2.0, 4.0, 4.0, 8)


def test_a_full_table_goes_on_with_a_sample_of_the_keys() -> None:
    """Bounded, and the sample's counts are those of a table that only ever saw these keys."""
    random = np.random.default_rng(5)
    table, whole = BlockTable(1, ScoreScale(), keys_max=500), BlockTable(1, ScoreScale(), keys_max=10**6)
    for window in range(20):
        keys = random.integers(0, 3000, 1000).astype(np.uint64)
        flags, values = random.random((1, 1000)) < 0.2, random.random(1000)
        table.add(window, keys, flags, values)
        whole.add(window, keys, flags, values)
    assert 125 <= table.flag_sums(0).keys <= 500
    assert table.limit < ALL_KEYS
    while whole.limit > table.limit:
        whole.halve()
    assert table.flag_sums(0) == whole.flag_sums(0)
    assert table.value_sums().total == pytest.approx(whole.value_sums().total)


def test_the_sample_of_keys_does_not_follow_the_order_of_their_hashes() -> None:
    """A canary takes keys by their hashes: a sample that did too would consist of one version's keys."""
    low = np.arange(100_000, dtype=np.uint64)  # all at the low end
    sampled = mix(low) <= np.uint64(ALL_KEYS // 4)
    assert 0.24 < sampled.mean() < 0.26


@pytest.mark.parametrize("scores", [[], [float("nan")], [0.5] * 10, [0.0, 1.0]])
def test_a_scale_can_be_made_of_any_scores(scores: list[float]) -> None:
    """Without finite scores there are no bins; equal deciles are one edge."""
    scale = ScoreScale.of(np.array(scores, dtype=np.float64))
    assert scale.deviation > 0
    assert len(set(scale.edges)) == len(scale.edges)
    assert list(scale.edges) == sorted(scale.edges)


def test_an_empty_batch_changes_nothing() -> None:
    """Of a worker without rows in a second."""
    table = BlockTable(1, SCALE)
    table.add(0, np.empty(0, dtype=np.uint64), np.empty((1, 0), dtype=np.bool_), np.empty(0))
    assert table.flag_sums(0) == KeySums()
    assert table.bins() == (0, 0, 0, 0)
