"""Damage to a store: detected at opening or at reading, never read as state."""

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from surgetank.errors import DiskFull, StateCorrupt, StateError
from surgetank.state.rocksdb_errors import explained, translated
from surgetank.state.store import Store, _Step, destroy
from tests.unit.state.stores import SMALL, after, assert_true_to_its_positions, held, opened, positions, step

STEPS = 60


LARGE = replace(SMALL, write_buffer=8 << 20)  # files are made when these tests want them


def filled(path: Path, files: int) -> Path:
    """Make a store with so many files of rows, and close it."""
    store = opened(path, budget=LARGE)
    for number in range(1, STEPS + 1):
        store.write(step(number), positions(number))
        if number % (STEPS // files) == 0:
            store.flush()
    store.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that was closed, with three files of rows."""
    return filled(tmp_path / "store", 3)


def largest_table_file(path: Path) -> Path:
    """Return the file with the most rows."""
    return max(path.glob("*.sst"), key=lambda file: file.stat().st_size)


def manifest(path: Path) -> Path:
    """Return the file that lists the others."""
    return path / (path / "CURRENT").read_text().strip()


def delete_rows(path: Path) -> None:
    """Delete a file of rows."""
    largest_table_file(path).unlink()


def truncate_rows(path: Path) -> None:
    """Cut a file of rows in half."""
    file = largest_table_file(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def overwrite_rows(path: Path) -> None:
    """Change bytes among the rows; the file keeps its size."""
    file = largest_table_file(path)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20] = bytes(20)
    file.write_bytes(content)


def empty_manifest(path: Path) -> None:
    """Leave nothing in the list of files."""
    manifest(path).write_bytes(b"")


def overwrite_manifest(path: Path) -> None:
    """Replace the list of files by noise."""
    file = manifest(path)
    file.write_bytes(random.Random(1).randbytes(file.stat().st_size))


def delete_manifest(path: Path) -> None:
    """Delete the list of files."""
    manifest(path).unlink()


def delete_current(path: Path) -> None:
    """Delete the file that names the list of files."""
    (path / "CURRENT").unlink()


def overwrite_current(path: Path) -> None:
    """Let the file that names the list of files name nothing."""
    (path / "CURRENT").write_bytes(b"\0\xff")


def empty_current(path: Path) -> None:
    """Leave nothing in the file that names the list of files."""
    (path / "CURRENT").write_bytes(b"")


DAMAGES = [
    delete_rows,
    truncate_rows,
    overwrite_rows,
    empty_manifest,
    overwrite_manifest,
    delete_manifest,
    delete_current,
    overwrite_current,
    empty_current,
]


def read_everything(path: Path) -> None:
    """Open the store, read every row, close it."""
    store = opened(path)
    try:
        store.read("cards", sorted(after(STEPS)["cards"]), None)
        held(store)
    finally:
        store.close()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.__name__)
def test_damage_is_detected_and_said(path: Path, damage: Callable[[Path], None]) -> None:
    """Opening or reading fails with the folder's name and what happens next; a new store can be made there."""
    damage(path)
    with pytest.raises(StateCorrupt, match=rf"state in {re.escape(str(path))} .*restored from its changelogs"):
        read_everything(path)
    destroy(path)
    store = opened(path)
    assert store.positions() == {}
    store.close()


READS: dict[str, Callable[[Store], object]] = {
    "read": lambda store: store.read("cards", sorted(after(STEPS)["cards"]), None),
    "scan": lambda store: store.scan("cards", None, 1_000_000),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_a_damaged_block_is_never_a_short_answer(tmp_path: Path, read: Callable[[Store], object]) -> None:
    """Neither looking up keys nor scanning leaves rows out because they cannot be read; the store can be closed."""
    path = filled(tmp_path / "store", 1)
    overwrite_rows(path)
    store = opened(path)
    with pytest.raises(StateCorrupt, match="checksum mismatch"):
        read(store)
    store.close()
    opened(path).close()


def test_a_list_of_files_that_was_cut_gives_an_earlier_state_or_damage(path: Path) -> None:
    """Wherever the list ends, what opens is true to the positions that it names."""
    whole = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    name = manifest(path).name
    opens = 0
    for length in range(0, len(whole[name]) + 1, max(1, len(whole[name]) // 25)):
        for file in path.iterdir():
            file.unlink()
        for each, content in whole.items():
            (path / each).write_bytes(content[:length] if each == name else content)
        try:
            store = opened(path)
        except StateCorrupt:
            continue
        opens += 1
        assert_true_to_its_positions(store)
        store.close()
    assert opens > 0


def test_rows_of_nobody_are_damage(tmp_path: Path) -> None:
    """A database that holds rows but not what it was made for is not reused."""
    store = opened(tmp_path / "store")
    store._write([_Step([], [], [b"\0identity"])])
    store.write(step(1), positions(1))
    store.close()
    with pytest.raises(StateCorrupt, match="no identity"):
        opened(tmp_path / "store")


def test_destroying_can_be_broken_off_anywhere(path: Path) -> None:
    """Whichever files are left of a store, it opens true to its positions, or is damage, or is empty; never half."""
    names = sorted(file.name for file in path.iterdir())
    for seed in range(20):
        copy = path.parent / f"copy-{seed}"
        shutil.copytree(path, copy)
        for name in random.Random(seed).sample(names, 1 + seed % len(names)):
            (copy / name).unlink()
        try:
            store = opened(copy)
        except StateCorrupt:
            destroy(copy)
            store = opened(copy)
            assert store.positions() == {}
        assert_true_to_its_positions(store)
        store.close()
    destroy(path.parent / "never there")


def test_a_folder_that_never_became_a_store_is_a_new_one(tmp_path: Path) -> None:
    """A worker that was killed while it made the folder leaves nothing that needs help."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "LOCK").touch()
    store = opened(tmp_path / "store")
    assert store.positions() == {}
    store.close()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("IO error: No space left on device: While appending to file: x/000012.sst: No space left on device", DiskFull),
        ("IO error: While appending to file: x/000012.sst: File too large", DiskFull),
        ("IO error: While appending to file: x: Disk quota exceeded", DiskFull),
        ("No space left on device (os error 28)", DiskFull),
        ("Corruption: block checksum mismatch: stored = 1, computed = 2", StateCorrupt),
        ("Corruption: Can't access /000012.sst: IO error: No such file or directory", StateCorrupt),
        ("IO error: No such file or directory: While open a file for random read: x/000012.sst", StateCorrupt),
        ("IO error: While lock file: x/LOCK: Resource temporarily unavailable", StateError),
        ("IO error: Permission denied: While opening a file: x/LOCK", StateError),
        ("IO error: Input/output error", StateError),
    ],
)
def test_what_rocksdb_says_becomes_the_right_error(text: str, error: type[StateError]) -> None:
    """No room, damage and everything else are three errors; each holds the folder and the words of RocksDB."""
    explanation = explained(Path("state/payments/3"), text)
    assert type(explanation) is error
    assert "state/payments/3" in str(explanation)
    assert text in str(explanation)


def test_a_defect_of_ours_stays_what_it_is() -> None:
    """Only what RocksDB raises is translated."""
    with pytest.raises(KeyError), translated(Path("state")):
        raise KeyError("ours")
