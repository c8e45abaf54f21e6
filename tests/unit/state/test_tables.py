"""surgetank.state.tables and table: the open transaction over what is on disk."""

import queue
import random
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.errors import StateError
from surgetank.records import large_binary
from surgetank.state.changelog import ChangelogReader
from surgetank.state.store import Store
from surgetank.state.table import TableWrite
from surgetank.state.tables import TaskTables
from tests.unit.state.stores import CARDS, CHANGELOG, FORMATS, SMALL, SOURCE, opened

FEW = replace(SMALL, rows=8 * 2 * 160)  # memory for about eight rows of each table


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    store = opened(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def tables(store: Store) -> TaskTables:
    """Tables over it, in epoch 1."""
    return TaskTables(store, FORMATS, SMALL, epoch=1)


def rows_of(*numbers: float) -> np.ndarray:
    """Return a row of cards for each number."""
    return np.array([[number, -number, 0.5] for number in numbers]).reshape(-1, 3)


def numbers_in(tables: TaskTables, *keys: bytes) -> list[float]:
    """Return the numbers in the rows of cards, NaN for fresh ones."""
    numbers: list[float] = tables["cards"].read(large_binary(keys))[:, 0].tolist()
    return numbers


def write(tables: TaskTables, keys: list[bytes], *numbers: float, epoch: int = 1) -> TableWrite:
    """Write cards, and expect that they are accepted."""
    written = tables["cards"].write(large_binary(keys), rows_of(*numbers), 0, epoch)
    assert written is not None
    return written


def test_a_key_never_seen_has_the_fresh_row(tables: TaskTables) -> None:
    """Rows come as float64 [k, W], contiguous and the caller's own; no keys give no rows."""
    rows = tables["cards"].read(large_binary([b"a", b"b"]))
    np.testing.assert_array_equal(rows, [[np.nan, 0, -1]] * 2)
    assert rows.flags.c_contiguous
    rows[:] = 7
    np.testing.assert_array_equal(tables["cards"].read(large_binary([b"a"])), [[np.nan, 0, -1]])
    assert tables["cards"].read(large_binary([])).shape == (0, 3)


def test_what_was_written_is_read_before_it_is_committed_and_after(tables: TaskTables, store: Store) -> None:
    """The next read sees a write at once; the disk sees it with the commit, and not before."""
    written = write(tables, [b"a", b"b"], 1, 2)
    assert numbers_in(tables, b"b", b"a") == [2, 1]
    assert tables["cards"].committed([b"a"]) == [None]
    tables.commit(written.number, {SOURCE: 10, CHANGELOG: 2})
    assert numbers_in(tables, b"b", b"a") == [2, 1]
    assert tables["cards"].committed([b"a", b"b", b"c"]) == [*written.values.to_pylist(), None]
    assert store.positions() == {SOURCE: 10, CHANGELOG: 2}


def test_a_write_tells_the_changelog_what_the_disk_will_hold(tables: TaskTables) -> None:
    """Keys and values of a write are the records, with the source offset that the rows include."""
    written = tables["cards"].write(large_binary([b"a", b"b"]), rows_of(1, 2), np.array([8, 9]), 1)
    assert written is not None
    assert written.table == "cards"
    assert written.keys.to_pylist() == [b"a", b"b"]
    np.testing.assert_array_equal(CARDS.unpack(written.values), rows_of(1, 2))
    assert CARDS.source_offsets(written.values).tolist() == [8, 9]


def test_a_commit_covers_what_its_transaction_had_and_no_more(tables: TaskTables) -> None:
    """Writes of the next transaction stay uncommitted, also over the same keys, and survive as they are."""
    first = write(tables, [b"a", b"b"], 1, 2)
    second = write(tables, [b"a", b"c"], 10, 30)
    tables.commit(first.number, {})
    stored = [v and CARDS.unpack(large_binary([v]))[0, 0] for v in tables["cards"].committed([b"a", b"b", b"c"])]
    assert stored == [1, 2, None]
    assert numbers_in(tables, b"a", b"b", b"c") == [10, 2, 30]
    assert tables["cards"].uncommitted == len(second.keys)
    tables.drop(2)
    np.testing.assert_array_equal(numbers_in(tables, b"a", b"b", b"c"), [1, 2, np.nan])
    assert second.number > first.number


def test_tables_are_committed_together_in_one_write(tables: TaskTables, store: Store) -> None:
    """Rows of all tables and the positions are one write, or none."""
    number = write(tables, [b"a"], 1).number
    shops = tables["shops"].write(large_binary([b"s"]), np.array([[5.0]]), 0, 1)
    assert shops is not None
    assert shops.number == number + 1
    with pytest.raises(AttributeError):
        tables.commit(shops.number, {SOURCE: None})  # type: ignore[dict-item] # what fails, fails before the disk
    assert store.scan("cards", None, 9) == store.scan("shops", None, 9) == []
    tables.commit(shops.number, {SOURCE: 3})
    assert [len(store.scan(name, None, 9)) for name in FORMATS] == [1, 1]
    assert store.positions() == {SOURCE: 3}


def test_an_abort_gives_back_what_is_committed(tables: TaskTables) -> None:
    """Thrown-away writes are gone from all tables, whether the key was on disk or not."""
    tables.commit(write(tables, [b"a"], 1).number, {})
    write(tables, [b"a", b"b"], 2, 2)
    tables["shops"].write(large_binary([b"s"]), np.ones((1, 1)), 0, 1)
    tables.drop(2)
    np.testing.assert_array_equal(numbers_in(tables, b"a", b"b"), [1, np.nan])
    assert tables["shops"].read(large_binary([b"s"])).tolist() == [[0]]
    assert tables["cards"].uncommitted == 0


def test_what_was_worked_out_before_an_abort_is_not_taken_after_it(tables: TaskTables) -> None:
    """A write of an epoch that is over changes nothing."""
    rows = tables["cards"].read(large_binary([b"a"]))
    tables.drop(2)
    assert tables["cards"].write(large_binary([b"a"]), rows, 0, epoch=1) is None
    np.testing.assert_array_equal(numbers_in(tables, b"a"), [np.nan])
    assert write(tables, [b"a"], 3, epoch=2).number == 1
    assert numbers_in(tables, b"a") == [3]


def test_what_was_thrown_away_cannot_be_committed(tables: TaskTables, store: Store) -> None:
    """The disk never says that it includes rows that it does not have."""
    kept, lost = write(tables, [b"a"], 1), write(tables, [b"a"], 2)
    tables.commit(kept.number, {SOURCE: 1})
    tables.drop(2)
    with pytest.raises(StateError, match=r"write 2 .* discarded .* reopen the task"):
        tables.commit(lost.number, {SOURCE: 2})
    tables.commit(0, {SOURCE: 3})  # a transaction without writes is no problem
    assert store.positions() == {SOURCE: 3}


def test_a_commit_that_fails_keeps_everything(tables: TaskTables, store: Store) -> None:
    """If the disk refuses, the rows are still read and can be committed once more."""
    written = write(tables, [b"a"], 1)
    store.close()
    with pytest.raises(StateError):
        tables.commit(written.number, {})
    assert numbers_in(tables, b"a") == [1]
    assert tables["cards"].uncommitted == 1


def test_it_says_when_it_is_full(store: Store) -> None:
    """Uncommitted rows beyond the bound are told, and a commit or an abort makes room."""
    tables = TaskTables(store, FORMATS, FEW, epoch=1)
    write(tables, [b"a"], 1)
    full = [tables.full]
    last = write(tables, [b"a", b"b"], 2, 3)
    full.append(tables.full)
    assert tables["cards"].uncommitted == 3  # older rows of a key take memory too
    assert numbers_in(tables, b"a", b"b") == [2, 3]
    tables.commit(last.number, {})
    full.append(tables.full)
    assert full == [False, True, False]
    write(tables, [b"a", b"b", b"c"], 4, 4, 4)
    assert tables.full
    tables.drop(2)
    assert not tables.full


def test_an_uncommitted_row_outlives_any_number_of_reads(store: Store) -> None:
    """Rows that are read push out what is on disk, never what is not."""
    tables = TaskTables(store, FORMATS, FEW, epoch=1)
    write(tables, [b"a"], 1)
    for number in range(20):
        numbers_in(tables, *(b"%d-%d" % (number, other) for other in range(10)))
    assert numbers_in(tables, b"a") == [1]


def test_old_rows_are_forgotten_a_few_at_a_time(tables: TaskTables, store: Store) -> None:
    """Each call looks at so many rows, round and round; what is old becomes fresh, and a deletion for the changelog."""
    keys = [b"%02d" % number for number in range(10)]
    tables.commit(write(tables, keys, *range(10)).number, {})
    write(tables, [b"02"], 100)  # seen again, not committed yet
    cards, gone = tables["cards"], list[bytes]()
    for _ in range(3):
        if (written := cards.expire(lambda rows: rows[:, 0] < 7, 4, epoch=1)) is not None:
            assert written.values.to_pylist() == [None] * len(written.keys)
            gone += written.keys.to_pylist()
            last = written.number
    assert gone == [b"00", b"01", b"03", b"04", b"05", b"06"]
    np.testing.assert_array_equal(numbers_in(tables, b"00", b"02", b"07"), [np.nan, 100, 7])
    assert len(store.scan("cards", None, 99)) == 10
    assert cards.expire(lambda rows: rows[:, 0] < 7, 99, epoch=1) is None  # all of them are told already
    tables.commit(last, {})
    assert [key for key, _ in store.scan("cards", None, 99)] == [b"02", b"07", b"08", b"09"]


def test_a_forgotten_key_that_comes_again_starts_fresh(tables: TaskTables, store: Store) -> None:
    """Forgetting and writing again, in one transaction or two, leaves what was written last."""
    tables.commit(write(tables, [b"a"], 1).number, {})
    forgotten = tables["cards"].expire(lambda rows: np.ones(len(rows), dtype=bool), 9, epoch=1)
    assert forgotten is not None
    again = write(tables, [b"a"], 5)
    tables.commit(forgotten.number, {})
    assert store.scan("cards", None, 9) == []
    assert numbers_in(tables, b"a") == [5]
    tables.commit(again.number, {})
    assert [CARDS.unpack(large_binary([value]))[0, 0] for _, value in store.scan("cards", None, 9)] == [5]


def test_an_abort_remembers_what_was_forgotten(tables: TaskTables) -> None:
    """Deletions of a transaction that is thrown away are thrown away too."""
    tables.commit(write(tables, [b"a"], 1).number, {})
    tables["cards"].expire(lambda rows: np.ones(len(rows), dtype=bool), 9, epoch=1)
    tables.drop(2)
    assert numbers_in(tables, b"a") == [1]


def test_a_changelog_gives_back_the_same_table(tables: TaskTables, store: Store, tmp_path: Path) -> None:
    """What the writes told the changelog, applied in bursts to an empty store, makes the same rows."""
    rng = random.Random(4)
    told = list[tuple[bytes, bytes | None]]()
    for _ in range(30):
        chosen = rng.sample([b"%d" % number for number in range(50)], 10)
        last = write(tables, chosen, *(rng.random() for _ in chosen))
        told += zip(last.keys.to_pylist(), last.values.to_pylist(), strict=True)
        if (forgotten := tables["cards"].expire(lambda rows: rows[:, 0] < 0.3, 20, epoch=1)) is not None:
            told += zip(forgotten.keys.to_pylist(), forgotten.values.to_pylist(), strict=True)
            last = forgotten
        tables.commit(last.number, {})
    restored = opened(tmp_path / "restored")
    for start in range(0, len(told), 70):
        keys, values = zip(*told[start : start + 70], strict=True)
        restored.write(
            {"cards": ChangelogReader(CARDS, 1 << 40).take(keys, values, CHANGELOG)}, {CHANGELOG: start + len(keys)}
        )
    assert any(value is None for _, value in told)
    assert restored.scan("cards", None, 999) == store.scan("cards", None, 999)
    assert restored.positions() == {CHANGELOG: len(told)}
    restored.close()


KEYS = [b"%d" % number for number in range(40)]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sets(st.sampled_from(KEYS), min_size=1, max_size=6)),
        st.tuples(st.just("read"), st.sets(st.sampled_from(KEYS), max_size=30)),
        st.tuples(st.just("forget"), st.integers(1, 9)),
        st.tuples(st.just("commit"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.none()),
        st.tuples(st.just("open again"), st.none()),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=150)
def test_it_is_a_dict_that_can_go_back(steps: list[tuple[str, Any]]) -> None:
    """Against plain dicts: reads see every write, commits keep a prefix of them, drops and deaths go back to it.

    With memory for a few rows, so that rows are let go and read again all the time.
    """
    disk = dict[bytes, float]()  # what is committed
    pending = list[tuple[int, dict[bytes, float | None]]]()  # writes that are not
    epoch, number = 1, 0

    def expected() -> dict[bytes, float]:
        seen: dict[bytes, float | None] = dict(disk)
        for _, changes in pending:
            seen |= changes
        return {key: value for key, value in seen.items() if value is not None}

    with tempfile.TemporaryDirectory() as folder:
        store = opened(Path(folder) / "store")
        tables = TaskTables(store, FORMATS, FEW, epoch)
        for what, argument in steps:
            number += 1
            if what == "write":
                keys = sorted(argument)
                written = write(tables, keys, *(float(number) for _ in keys), epoch=epoch)
                pending.append((written.number, dict.fromkeys(keys, float(number))))
            elif what == "read":
                keys = sorted(argument)
                np.testing.assert_array_equal(numbers_in(tables, *keys), [expected().get(key, np.nan) for key in keys])
            elif what == "forget":
                gone = tables["cards"].expire(lambda rows: rows[:, 0] % 2 == 0, argument, epoch)
                if gone is not None:
                    assert all(expected()[key] % 2 == 0 for key in gone.keys.to_pylist())
                    pending.append((gone.number, dict.fromkeys(gone.keys.to_pylist())))
            elif what == "commit":
                cut = max(0, len(pending) - argument)
                tables.commit(pending[cut - 1][0] if cut else 0, {SOURCE: number})
                for _, changes in pending[:cut]:
                    for key, value in changes.items():
                        disk.pop(key, None)
                        if value is not None:
                            disk[key] = value
                pending = pending[cut:]
                assert {k: CARDS.unpack(large_binary([v]))[0, 0] for k, v in store.scan("cards", None, 999)} == disk
                assert store.positions() == {SOURCE: number}
            else:
                epoch += 1
                pending = []
                if what == "drop":
                    tables.drop(epoch)
                else:
                    store.close()
                    store = opened(Path(folder) / "store")
                    tables = TaskTables(store, FORMATS, FEW, epoch)
        np.testing.assert_array_equal(numbers_in(tables, *KEYS), [expected().get(key, np.nan) for key in KEYS])
        store.close()


class Ending:
    """The committing thread of a task: commits what the flow has handed over, and now and then aborts."""

    def __init__(self, tables: TaskTables, seed: int) -> None:
        self.tables = tables
        self.rng = random.Random(seed)
        self.epoch = 1
        # Numbers of writes; -1: an abort was noticed; 0: the flow is done. It never gets far ahead.
        self.handed_over: queue.Queue[int] = queue.Queue(20)
        self.aborted: queue.Queue[int] = queue.Queue()  # after an abort: the last write that is committed

    def run(self) -> None:
        """End one transaction after the other until the flow is done."""
        committed = 0
        while (number := self.handed_over.get()) != 0:
            if number == -1:
                continue
            if self.rng.random() < 0.1:
                self.epoch += 1  # first, as in a rebalance: what is worked out from now on is worthless
                self.tables.drop(self.epoch)
                while number != -1:  # what the flow hands over until it notices
                    number = self.handed_over.get()
                self.aborted.put(committed)
            else:
                self.tables.commit(number, {SOURCE: number})
                committed = number


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_flow_and_commits_in_two_threads(store: Store, seed: int) -> None:
    """While another thread commits and aborts, the flow reads all that it wrote in its epoch, and never anything else.

    In the end the disk holds what was committed.
    """
    rng = random.Random(100 + seed)
    tables = TaskTables(store, FORMATS, replace(SMALL, rows=2 * 60 * 160), epoch=1)
    ending = Ending(tables, seed)
    thread = threading.Thread(target=ending.run)
    thread.start()
    keys = [b"%d" % number for number in range(200)]
    snapshots = {0: dict[bytes, float]()}  # what the tables hold after each write
    last, epoch, reads, aborts = 0, 1, 0, 0
    try:
        for turn in range(3000):
            chosen = rng.sample(keys, 15)
            seen = numbers_in(tables, *chosen)
            if ending.epoch == epoch:  # else an abort came between
                np.testing.assert_array_equal(seen, [snapshots[last].get(key, np.nan) for key in chosen])
                reads += 1
            written = tables["cards"].write(large_binary(chosen), rows_of(*[float(turn)] * 15), turn, epoch)
            if written is not None:
                snapshots[written.number] = snapshots[last] | dict.fromkeys(chosen, float(turn))
                last = written.number
                ending.handed_over.put(last, timeout=60)
            else:
                ending.handed_over.put(-1, timeout=60)
                last = ending.aborted.get(timeout=60)
                epoch, aborts = ending.epoch, aborts + 1
    finally:
        ending.handed_over.put(-1, timeout=60)  # for an abort that nobody noticed
        ending.handed_over.put(0, timeout=60)
        thread.join()
    committed = store.positions()[SOURCE]
    rows = store.scan("cards", None, 999)
    assert {key: CARDS.unpack(large_binary([value]))[0, 0] for key, value in rows} == snapshots[committed]
    assert reads > 1000
    assert aborts > 10
