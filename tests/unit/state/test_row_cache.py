"""pipeline.state.row_cache: rows kept for the next time."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.row_cache import ROW_OVERHEAD, RowCache, memory_bytes

ROOM = ROW_OVERHEAD + 16  # for a row with a short key and a short value
KEYS = st.integers(0, 30).map(lambda number: b"%d" % number)


@given(
    st.lists(
        st.tuples(st.sampled_from(["keep", "keep", "find", "let go", "hold", "release"]), st.lists(KEYS, max_size=8)),
        max_size=60,
    )
)
def test_what_is_found_is_the_last_that_was_kept_and_the_held_never_go(steps: list[tuple[str, list[bytes]]]) -> None:
    """A found value is the key's latest; a key that is pinned since it was kept is always found."""
    recent, latest, pinned = RowCache(8 * ROOM), dict[bytes, bytes](), dict[bytes, bytes]()
    for number, (what, keys) in enumerate(steps):
        values = [b"value-%d" % number] * len(keys)
        if what == "find":
            for key, value in zip(keys, recent.get(keys), strict=True):
                assert value == latest.get(key) or (value is None and key not in pinned)
        elif what == "release":
            pinned = {}
        elif what == "let go":
            recent.remove(keys)
            for key in keys:
                latest.pop(key, None)
                pinned.pop(key, None)
            assert recent.get(keys) == [None] * len(keys)
        else:
            pinned |= dict.fromkeys(keys, b"") if what == "hold" else {}
            latest.update(zip(keys, values, strict=True))
            recent.put(keys, values, pinned)
        assert recent.get(list(pinned)) == [latest[key] for key in pinned]


@given(st.lists(st.lists(KEYS.map(lambda key: key * 3), max_size=10), max_size=50), st.integers(1, 40))
def test_it_does_not_grow(batches: list[list[bytes]], rows_max: int) -> None:
    """Whatever is put in, no more is kept than was said, but for the batch that filled each generation."""
    recent = RowCache(rows_max * ROOM)
    for keys in batches:
        recent.put(keys, keys, {})
        assert len(recent) <= max(rows_max, 2) + 2 * 10


def test_what_is_held_stays_whatever_comes() -> None:
    """A pinned key outlives any stream of others, and is let go like them once it is not pinned."""
    recent = RowCache(10 * ROOM)
    recent.put([b"held"], [b"value"], {b"held": None})
    for number in range(100):
        recent.put([b"%d" % number], [b""], {b"held": None})
    assert recent.get([b"held"]) == [b"value"]
    for number in range(100):
        recent.put([b"%d" % number], [b""], {})
    assert recent.get([b"held"]) == [None]


def test_what_is_used_stays() -> None:
    """A key that is asked for again and again is not let go by a stream of others."""
    recent = RowCache(10 * ROOM)
    recent.put([b"hot"], [b"value"], {})
    for number in range(100):
        recent.put([b"%d" % number], [b""], {})
        assert recent.get([b"hot"]) == [b"value"]
    assert recent.get([b"0"]) == [None]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "find", "let go", "hold", "release"]),
            st.dictionaries(KEYS, st.integers(0, 3).map(lambda size: b"v" * 40**size), min_size=1, max_size=8),
        ),
        max_size=60,
    )
)
def test_it_knows_what_it_takes(steps: list[tuple[str, dict[bytes, bytes]]]) -> None:
    """Whatever comes and goes, however large, the bytes of the young generation are counted to the byte."""
    recent, pinned = RowCache(8 * ROOM), dict[bytes, bytes]()
    for what, rows in steps:
        if what == "find":
            recent.get(list(rows))
        elif what == "release":
            pinned = {}
        elif what == "let go":
            recent.remove(rows)
            pinned = {key: value for key, value in pinned.items() if key not in rows}
        else:
            pinned |= rows if what == "hold" else {}
            recent.put(list(rows), list(rows.values()), pinned)
        assert recent._bytes == memory_bytes(recent._young, recent._young.values())


def test_few_large_rows_among_many_small_ones_take_no_more_than_the_room() -> None:
    """Keys that come again and again with small rows do not make room for large ones that come once."""
    room = 200 * ROOM
    recent = RowCache(room)
    hot = [b"hot-%d" % number for number in range(20)]
    for number in range(500):
        recent.put(hot, [b"v"] * len(hot), {})
        recent.put([b"%d" % number], [b"v" * 8 * ROOM], {})
        rows = recent._young | recent._old
        assert memory_bytes(rows, rows.values()) < room + 2 * 10 * ROOM
    assert recent.get(hot) == [b"v"] * len(hot)
