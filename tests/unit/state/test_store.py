"""surgetank.state.store: rows and positions of a task on a real disk."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from surgetank.errors import StateCorrupt, StateError, StateMismatch
from surgetank.state.store import Store, StoreMemory
from surgetank.state.store_identity import TableDifference, TableSignature
from tests.unit.state.stores import (
    CARDS,
    CHANGELOG,
    FORMATS,
    PAYMENTS,
    SHAPES,
    SMALL,
    SOURCE,
    after,
    assert_true_to_its_positions,
    held,
    opened,
    positions,
    step,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made; its parents are not there yet."""
    return tmp_path / "payments" / "3"


def written(path: Path, steps: int) -> Store:
    """Return an open store with so many writes."""
    store = opened(path)
    for number in range(1, steps + 1):
        store.write(step(number), positions(number))
    return store


def test_a_new_store_is_empty(path: Path) -> None:
    """No rows, no positions, nothing different from what is wanted."""
    store = opened(path)
    assert held(store) == {"cards": {}, "shops": {}}
    assert store.positions() == {}
    assert store.differences == ()
    store.close()


def test_what_was_written_is_read(path: Path) -> None:
    """Values by key in the order asked for, the given value for keys that are not there, tables kept apart."""
    store = written(path, 0)
    store.write({"cards": {b"a": b"1", b"": b"2", b"b\0": b"3"}, "shops": {b"a": b"4"}}, {})
    assert store.read("cards", [b"b", b"a", b"b\0", b"", b"a"], None) == [None, b"1", b"3", b"2", b"1"]
    assert store.read("shops", [b"a", b"b"], b"none") == [b"4", b"none"]
    assert store.read("cards", [], None) == []
    store.write({"cards": {b"a": None, b"never there": None}}, {SOURCE: 3})
    assert store.read("cards", [b"a"], None) == [None]
    assert store.read("shops", [b"a"], None) == [b"4"]
    store.close()


def test_rows_and_positions_outlive_a_close(path: Path) -> None:
    """A store that was closed opens with all of its writes, and takes more."""
    written(path, 20).close()
    again = opened(path)
    assert assert_true_to_its_positions(again) == 20
    again.write(step(21), positions(21))
    assert assert_true_to_its_positions(again) == 21
    again.close()


def test_positions_change_without_rows_and_keep_what_is_not_named(path: Path) -> None:
    """Each topic has its own; 0 and large offsets are offsets."""
    store = opened(path)
    store.write({}, {SOURCE: 0, CHANGELOG: 2**62})
    store.write({}, {SOURCE: 5})
    assert store.positions() == {SOURCE: 5, CHANGELOG: 2**62}
    store.close()


def test_a_table_is_scanned_in_pieces(path: Path) -> None:
    """Chunks of any size, each from behind the last key, give every row of the table once, in order."""
    store = written(path, 7)
    for limit in (1, 100, 5000):
        rows: list[tuple[bytes, bytes]] = []
        while chunk := store.scan("cards", rows[-1][0] if rows else None, limit):
            assert len(chunk) <= limit
            rows += chunk
        assert rows == sorted(after(7)["cards"].items())
    store.close()


def test_writes_faster_than_the_disk_wait(path: Path) -> None:
    """Writes of many times the write buffers, as fast as can be, are all accepted and all there."""
    store = opened(path)
    values = CARDS.pack(np.arange(6000.0).reshape(2000, 3), 0).to_pylist()
    for number in range(60):
        store.write({"cards": {b"%d-%d" % (number, row): value for row, value in enumerate(values)}}, {SOURCE: number})
    keys = [b"%d-%d" % (number, row) for number in range(60) for row in (0, 999, 1999)]
    assert store.read("cards", keys, None) == [values[row] for _ in range(60) for row in (0, 999, 1999)]
    assert store.positions() == {SOURCE: 59}
    store.close()


def test_sizes_are_told(path: Path) -> None:
    """An estimate of rows near the truth, and bytes that are on disk after a flush and in memory before."""
    store = opened(path)
    store.write({"cards": {b"%d" % number: CARDS.absent for number in range(1000)}}, {})
    assert 1000 <= store.size().rows <= 1010
    assert store.size().memory_bytes > 1000 * len(CARDS.absent)
    assert store.size().disk_bytes == 0
    store.flush()
    assert store.size().disk_bytes > 1000 * len(CARDS.absent)
    store.close()


def test_stores_share_one_cache_also_when_opened_again(tmp_path: Path) -> None:
    """Blocks that are read go into the worker's cache, never into one of the store's own."""
    memory = StoreMemory(SMALL)
    for number in range(2):
        written(tmp_path / str(number), 20).close()
        store = Store.open(tmp_path / str(number), PAYMENTS, memory)
        before = memory.cached
        store.read("cards", sorted(after(20)["cards"]), None)
        assert before < memory.cached <= SMALL.block_cache
        store.close()


def test_the_budget_can_change_while_open(path: Path) -> None:
    """Memory and store take another budget and go on."""
    memory = StoreMemory(SMALL)
    store = Store.open(path, PAYMENTS, memory)
    budget = replace(SMALL, write_buffer=1 << 20, block_cache=8 << 20)
    memory.resize(budget)
    store.resize(budget)
    store.write(step(1), positions(1))
    assert assert_true_to_its_positions(store) == 1
    store.close()


def test_a_checkpoint_is_a_store_of_its_own(path: Path, tmp_path: Path) -> None:
    """It opens elsewhere with what was there, also what was only in memory, and later writes do not touch it."""
    store = written(path, 5)
    store.checkpoint(tmp_path / "export" / "payments-3")
    for number in range(6, 40):
        store.write(step(number), positions(number))
    copy = opened(tmp_path / "export" / "payments-3")
    assert assert_true_to_its_positions(copy) == 5
    copy.write(step(6), positions(6))
    assert assert_true_to_its_positions(copy) == 6
    assert assert_true_to_its_positions(store) == 39
    copy.close()
    store.close()


def test_a_checkpoint_never_overwrites(path: Path, tmp_path: Path) -> None:
    """A folder that exists is refused, by name."""
    store = opened(path)
    with pytest.raises(StateError, match=r"cannot export state to .*exists"):
        store.checkpoint(tmp_path)
    store.close()


def test_a_closed_store_says_so(path: Path) -> None:
    """Closing twice is one closing; anything else afterwards is an error that names the folder."""
    store = opened(path)
    store.close()
    store.close()
    for use in (
        lambda: store.read("cards", [b"a"], None),
        lambda: store.write(step(1), positions(1)),
        lambda: store.scan("cards", None, 1),
        store.positions,
        store.flush,
        store.size,
    ):
        with pytest.raises(StateError, match=r"payments/3 was closed"):
            use()


def test_closing_waits_for_those_who_read(path: Path) -> None:
    """A store that is closed while threads read ends their reading cleanly, and can be opened again at once."""
    store = written(path, 20)
    rows = after(20)["cards"]
    keys = sorted(rows)
    expected = [rows[key] for key in keys]
    begun, wrong = threading.Barrier(4), list[object]()

    def reads() -> None:
        begun.wait()
        try:
            while True:
                if store.read("cards", keys, None) != expected:
                    wrong.append("other values")
        except StateError as error:
            if "was closed" not in str(error):
                wrong.append(error)

    readers = [threading.Thread(target=reads) for _ in range(3)]
    for reader in readers:
        reader.start()
    begun.wait()
    store.close()
    opened(path).close()
    for reader in readers:
        reader.join()
    assert wrong == []


def test_a_store_has_one_owner(path: Path) -> None:
    """Opening it a second time is refused, and not reported as damage."""
    store = opened(path)
    with pytest.raises(StateError, match="is in use") as refused:
        opened(path)
    assert type(refused.value) is StateError
    store.close()


def test_a_store_for_other_partitions_is_not_believed(path: Path) -> None:
    """One that was made for another number of them counts as damaged, and opens for the right one after that."""
    written(path, 3).close()
    with pytest.raises(StateCorrupt, match=r"12 partitions.*24.*moved.*restored"):
        opened(path, replace(PAYMENTS, partitions=24))
    store = opened(path)
    assert assert_true_to_its_positions(store) == 3
    store.close()


WIDER = TableSignature(CARDS.size + 8, "cards-2")
CHANGED = replace(PAYMENTS, tables=SHAPES | {"cards": WIDER})


def test_a_table_of_another_shape_is_told_and_not_touched(path: Path) -> None:
    """Its rows can be scanned, but neither read nor written; other tables work; nothing is changed on disk."""
    written(path, 3).close()
    store = opened(path, CHANGED)
    assert store.differences == (TableDifference("cards", SHAPES["cards"], WIDER),)
    with pytest.raises(StateMismatch, match="'cards'"):
        store.read("cards", [b"a"], None)
    with pytest.raises(StateMismatch, match="'cards'"):
        store.write({"cards": {b"a": bytes(WIDER.size)}}, {})
    assert dict(store.scan("cards", None, 10_000)) == after(3)["cards"]
    assert store.read("shops", [b"key-31"], None) == [after(3)["shops"].get(b"key-31")]
    store.close()
    again = opened(path)
    assert again.differences == ()
    assert assert_true_to_its_positions(again) == 3
    again.close()


def test_the_helpers_of_these_tests_delete_too() -> None:
    """The writes that stores are filled with put and delete, in both tables, or the tests above would show little."""
    changes = [step(number) for number in range(1, 41)]
    assert {None in each["cards"].values() for each in changes} == {True}
    assert all(set(each) == set(FORMATS) for each in changes)
    assert 100 < len(after(40)["cards"]) < 1000
