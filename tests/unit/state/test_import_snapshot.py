"""surgetank.state.import_snapshot: a snapshot comes to a worker's folder whole, or not at all."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from surgetank.errors import DiskFull, StateError
from surgetank.state.export_snapshot import export_snapshot
from surgetank.state.import_snapshot import import_snapshot
from surgetank.state.snapshot import MANIFEST, SavedTask, Snapshot
from tests.unit.state.stores import assert_true_to_its_positions, opened, positions, step
from tests.unit.state.test_export_snapshot import HOME, silent, written


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """Return what was exported to ``out``: a store with 20 writes."""
    written(tmp_path / "state" / "w1" / "3", 20)
    return export_snapshot(tmp_path / "state", tmp_path / "out", HOME, silent)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Where the state goes: the folder of another worker, with the file that says whose it is."""
    folder = tmp_path / "elsewhere" / "w2"
    folder.mkdir(parents=True)
    (folder / "owner").touch()
    return folder


def left_in(into: Path) -> set[str]:
    """Return the names of what is there."""
    return {path.name for path in into.iterdir()}


def test_a_worker_finds_what_was_exported(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """The store opens there with all of its writes, and takes more, which the snapshot does not."""
    import_snapshot(tmp_path / "out", snapshot, into, silent)

    assert left_in(into) == {"owner", "3"}
    store = opened(into / "3")
    assert assert_true_to_its_positions(store) == 20
    store.write(step(21), positions(21))
    store.close()
    import_snapshot(tmp_path / "out", snapshot, into, silent, replace=True)
    store = opened(into / "3")
    assert assert_true_to_its_positions(store) == 20
    store.close()


def test_state_that_is_there_is_kept(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """Unless it is to be replaced: then it is gone, and that of other tasks is not."""
    written(into / "3", 2)
    (into / "4").mkdir()
    with pytest.raises(StateError, match=r"already has state of task 3; --replace"):
        import_snapshot(tmp_path / "out", snapshot, into, silent)
    store = opened(into / "3")
    assert assert_true_to_its_positions(store) == 2
    store.close()

    import_snapshot(tmp_path / "out", snapshot, into, silent, replace=True)

    assert left_in(into) == {"owner", "3", "4"}
    store = opened(into / "3")
    assert assert_true_to_its_positions(store) == 20
    store.close()


def changed(file: Path) -> None:
    """Change one bit of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()  # it shares its bytes with the store that it was exported from
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Leave the first half of a file."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("harm", "told"),
    [(changed, "does not have the checksum"), (cut, "does not have the checksum"), (os.unlink, "is missing")],
    ids=["changed", "cut", "missing"],
)
def test_what_was_damaged_on_the_way_is_refused(
    snapshot: Snapshot, into: Path, tmp_path: Path, harm: Callable[[Path], None], told: str
) -> None:
    """Whatever file it is, also where state would be replaced: that stays, and nothing else does."""
    written(into / "3", 2)
    files = sorted(snapshot.tasks[0].files)
    assert len(files) > 4
    for name in files:
        if snapshot.tasks[0].files[name].bytes == 0 and harm is not os.unlink:
            continue
        whole = (tmp_path / "out" / "3" / name).read_bytes()
        harm(tmp_path / "out" / "3" / name)
        with pytest.raises(StateError, match=rf"{name} {told}"):
            import_snapshot(tmp_path / "out", snapshot, into, silent, replace=True)
        (tmp_path / "out" / "3" / name).unlink(missing_ok=True)
        (tmp_path / "out" / "3" / name).write_bytes(whole)
    assert left_in(into) == {"owner", "3"}
    store = opened(into / "3")
    assert assert_true_to_its_positions(store) == 2
    store.close()


def test_a_task_that_was_not_brought_along_is_missing(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """The manifest tells of it, its folder is not there: refused by name."""
    (tmp_path / "out" / "3").rename(tmp_path / "mislaid")
    with pytest.raises(StateError, match=r"out/3 is missing: .* completely"):
        import_snapshot(tmp_path / "out", snapshot, into, silent)
    assert left_in(into) == {"owner"}


def test_a_task_that_had_nothing_has_nothing(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """What is there of it is replaced by nothing: a worker restores all of it."""
    written(into / "4", 2)
    both = Snapshot(HOME, (*snapshot.tasks, SavedTask(4, "w1", {}, {}, {})))
    import_snapshot(tmp_path / "out", both, into, silent, replace=True)
    assert left_in(into) == {"owner", "3"}


def test_no_room_is_an_error_of_its_own(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """The system refuses to let files grow: said so, nothing is left of the attempt."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(DiskFull, match="no space"):
            import_snapshot(tmp_path / "out", snapshot, into, silent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_in(into) == {"owner"}


def test_what_an_attempt_left_that_was_killed_is_in_nobodys_way(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """The half of an earlier import is removed by the next one."""
    (into / "importing" / "3").mkdir(parents=True)
    (into / "importing" / "3" / "000001.sst").touch()
    assert (tmp_path / "out" / MANIFEST).exists()
    import_snapshot(tmp_path / "out", snapshot, into, silent)
    assert left_in(into) == {"owner", "3"}


def test_a_file_of_the_snapshot_is_a_link(snapshot: Snapshot, into: Path, tmp_path: Path) -> None:
    """Followed if it leads to the exported bytes; to a device or more bytes it is refused, and nothing is left."""
    file = tmp_path / "out" / "3" / min(name for name, each in snapshot.tasks[0].files.items() if each.bytes)
    kept = tmp_path / "kept"
    file.rename(kept)
    (tmp_path / "longer").write_bytes(kept.read_bytes() + bytes(100))
    for leads_to, told in (
        (Path("/dev/zero"), "is not a regular file"),
        (tmp_path / "longer", "is longer than the"),
        (tmp_path / "nothing", "is missing"),
    ):
        file.symlink_to(leads_to)
        with pytest.raises(StateError, match=told):
            import_snapshot(tmp_path / "out", snapshot, into, silent)
        assert left_in(into) == {"owner"}
        file.unlink()
    file.symlink_to(kept)
    import_snapshot(tmp_path / "out", snapshot, into, silent)
    store = opened(into / "3")
    assert assert_true_to_its_positions(store) == 20
    store.close()
