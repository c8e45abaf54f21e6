"""Tests of pipeline.state.key_hash: the distinct keys of the entries of a batch."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.records import large_binary
from surgetank.state import key_hash
from surgetank.state.key_hash import group_keys

RESERVED = [b"\0meaning", b"\0grown"]
KEYS = st.sampled_from([None, b"", *RESERVED, b"\0mean", b"a", b"b", b"ab"]) | st.binary(max_size=2)


def groups(
    entries: list[tuple[bytes | None, bool]], ranges: list[int], reserved: list[bytes]
) -> tuple[list[int], list[int], list[int]]:
    """Return the expected groups of entries in rows 1, 3, 5 and so on."""
    index, first, starts = [], list[int](), [0]
    for start, stop in pairwise(ranges):
        numbers = dict[bytes, int]()
        for at in range(start, stop):
            key, usable = entries[at]
            if key is None or key in reserved or not usable:
                index.append(-1)
                continue
            if key not in numbers:
                numbers[key] = len(first)
                first.append(2 * at + 1)
            index.append(numbers[key])
        starts.append(len(first))
    return index, first, starts


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=60), st.lists(st.integers(0, 60), max_size=3))
def test_equal_keys_of_a_range_have_one_number_and_the_reserved_have_none(
    entries: list[tuple[bytes | None, bool]], cuts: list[int]
) -> None:
    """As by a dict of Python: keys are numbered by range in the order of first use; columns may be slices."""
    n = len(entries)
    ranges = [0, *sorted(min(cut, n) for cut in cuts), n]
    cells = [b"before", *(cell for key, _ in entries for cell in (b"between", key))]
    keys = large_binary(cells).slice(1)
    usable = np.array([each for _, each in entries], dtype=np.bool_)

    found = group_keys(keys, np.arange(1, 2 * n, 2), np.array(ranges), usable, RESERVED)

    assert tuple(each.tolist() for each in found) == groups(entries, ranges, RESERVED)


def test_keys_that_share_slots_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the seed: of 300 keys in a table of 1024 slots, some have the same slot."""
    cells: list[bytes | None] = [b"%d" % (number % 300) for number in range(600)]
    for seed in range(50):
        monkeypatch.setattr(key_hash, "SEED", seed)
        index, first, starts = group_keys(
            large_binary(cells), np.arange(600), np.array([0, 600]), np.ones(600, dtype=np.bool_)
        )
        assert index.tolist() == [*range(300), *range(300)]
        assert first.tolist() == list(range(300))
        assert starts.tolist() == [0, 300]
