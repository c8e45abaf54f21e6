"""Tests of pipeline.state.row_cache: the rows kept in memory for the next batch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surgetank.records import large_binary
from surgetank.state.row_cache import RowCache

ROOM = 80  # memory of a row with a short key and a short value: head, key and room for the value
KEYS = st.integers(0, 30).map(lambda number: b"%d" % number * (number % 3 + 1))
VALUES = st.binary(max_size=8) | st.integers(0, 3).map(lambda size: b"v" * 40**size)


def put(cache: RowCache, rows: dict[bytes, bytes], number: int = 0) -> None:
    """Put rows, whose columns are slices of longer ones."""
    keys, values = ([b"before", *each, b"behind"] for each in (rows.keys(), rows.values()))
    cache.put(large_binary(keys).slice(1, len(rows)), large_binary(values).slice(1, len(rows)), number)


def get(cache: RowCache, keys: list[bytes]) -> list[bytes | None]:
    """Return the values of keys, whose column is a slice of a longer one."""
    found: list[bytes | None] = cache.get(large_binary([b"before", *keys, b"behind"]).slice(1, len(keys))).to_pylist()
    return found


@given(
    st.integers(0, 8 * ROOM),
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write", "write", "get", "commit", "clear"]),
            st.dictionaries(KEYS, VALUES, max_size=8),
        ),
        max_size=60,
    ),
)
def test_a_found_value_is_the_last_one_and_uncommitted_rows_are_always_found(
    capacity: int, steps: list[tuple[str, dict[bytes, bytes]]]
) -> None:
    """Whatever fits into memory, no stale value is found, and no row of an uncommitted write is evicted."""
    cache, latest, uncommitted = RowCache(capacity), dict[bytes, bytes](), dict[bytes, int]()
    for number, (what, rows) in enumerate(steps, start=1):
        if what == "write":
            put(cache, rows, number)
            latest |= rows
            uncommitted |= dict.fromkeys(rows, number)
        elif what == "read":  # from disk: rows that are not cached
            missing = {key for key, value in zip(rows, get(cache, list(rows)), strict=True) if value is None}
            put(cache, {key: latest.setdefault(key, rows[key]) for key in missing})
        elif what == "commit":
            through = number - len(rows)
            cache.mark_committed(through)
            uncommitted = {key: write for key, write in uncommitted.items() if write > through}
        elif what == "clear":
            cache.clear()
            assert not len(cache)
            latest, uncommitted = {}, {}
        for key, value in zip(rows, get(cache, list(rows)), strict=True):
            assert value == latest.get(key) or (value is None and key not in uncommitted)
        assert get(cache, list(uncommitted)) == [latest[key] for key in uncommitted]


@given(st.lists(st.lists(KEYS, max_size=10, unique=True), max_size=50), st.integers(1, 40))
def test_it_does_not_grow(batches: list[list[bytes]], rows_max: int) -> None:
    """Whatever is put in, no more is kept than the capacity, except for the batch that fills each generation."""
    cache = RowCache(rows_max * ROOM)
    for keys in batches:
        put(cache, dict.fromkeys(keys, b"v"))
        assert cache.used_bytes <= rows_max * ROOM + 2 * 1536  # the largest batch and the smallest index


def test_an_uncommitted_row_stays_whatever_comes() -> None:
    """A row of an uncommitted write outlives any stream of others, and is evicted like them once it is committed."""
    cache = RowCache(40 * ROOM)
    put(cache, {b"held": b"value"}, 1)
    for number in range(100):
        put(cache, {b"%d" % number: b""})
    assert get(cache, [b"held"]) == [b"value"]
    cache.mark_committed(1)
    for number in range(100):
        put(cache, {b"%d" % number: b"x"})
    assert get(cache, [b"held"]) == [None]


def test_a_used_row_stays() -> None:
    """A key that is asked for again and again is not evicted by a stream of others."""
    cache = RowCache(40 * ROOM)
    put(cache, {b"hot": b"value"})
    for number in range(100):
        put(cache, {b"%d" % number: b""})
        assert get(cache, [b"hot"]) == [b"value"]
    assert get(cache, [b"0"]) == [None]


def test_few_large_rows_among_many_small_ones_take_no_more_than_the_room() -> None:
    """Keys that come again and again with small rows do not make room for large ones that come once."""
    room = 200 * ROOM
    cache = RowCache(room)
    hot = {b"hot-%d" % number: b"v" for number in range(20)}
    for number in range(500):
        put(cache, hot)
        put(cache, {b"%d" % number: b"v" * 8 * ROOM})
        assert cache.used_bytes < room + 2 * 10 * ROOM
    assert get(cache, list(hot)) == [b"v"] * len(hot)


def test_many_keys_are_told_apart() -> None:
    """Keys with equal beginnings, lengths and slots of the index are different keys."""
    cache, count = RowCache(1 << 22), 5000
    for start in range(0, count, 500):
        put(cache, {b"key-%06d" % number: b"%d" % number for number in range(start, start + 500)})
    order = np.random.default_rng(1).permutation(2 * count).tolist()
    assert get(cache, [b"key-%06d" % number for number in order]) == [
        b"%d" % number if number < count else None for number in order
    ]
