"""surgetank.state.snapshot: what a snapshot says of itself, and where it belongs."""

from dataclasses import replace
from pathlib import Path

import pytest

from surgetank.errors import StateError, StateMismatch
from surgetank.state.snapshot import MANIFEST, SavedTask, Snapshot, SnapshotFile, SnapshotOrigin
from surgetank.state.store_identity import StoreIdentity, TableSignature

TABLES = {"cards": TableSignature(32, "cards-1@id1"), "shops": TableSignature(16, "shops-1@id2")}
HOME = SnapshotOrigin("payments", "cluster-a", 12, TABLES)
SAVED = SavedTask(
    3, "w1", {"events": 10, "changelog": 7}, {"cards": 2, "shops": 0}, {"000008.sst": SnapshotFile(5, "ab" * 32)}
)
NOTHING = SavedTask(4, "w1", {}, {}, {})


def written(folder: Path, text: bytes) -> Path:
    """Write a manifest into a folder, and return the folder."""
    (folder / MANIFEST).write_bytes(text)
    return folder


def test_what_was_dumped_is_loaded(tmp_path: Path) -> None:
    """All of it, tasks with nothing included."""
    snapshot = Snapshot(HOME, (SAVED, NOTHING))
    assert Snapshot.load(written(tmp_path, snapshot.dump())) == snapshot
    assert (SAVED.bytes, NOTHING.bytes) == (5, 0)


def test_a_home_gives_what_its_stores_are_made_for() -> None:
    """The identity of one task."""
    assert HOME.identity(3) == StoreIdentity("payments", 3, 12, TABLES)


def test_a_manifest_without_end_is_no_snapshot(tmp_path: Path) -> None:
    """A link to a device is not read."""
    (tmp_path / MANIFEST).symlink_to("/dev/zero")
    with pytest.raises(StateError, match="no regular file"):
        Snapshot.load(tmp_path)


def test_a_folder_without_a_manifest_is_no_snapshot(tmp_path: Path) -> None:
    """As one whose export was cut short: the file is named, and what to do."""
    with pytest.raises(StateError, match=r"snapshot\.json: No such file .*state export"):
        Snapshot.load(tmp_path)


@pytest.mark.parametrize(
    ("was", "now", "named"),
    [
        (b"}", b"", "Invalid JSON"),
        (b'"task": 3', b'"task": -3', r"tasks\.0\.task"),
        (b'"partitions": 12', b'"partitions": "many"', r"home\.partitions"),
        (b'"000008.sst"', b'"../../elsewhere"', r"tasks\.0\.files"),
        (b'"000008.sst"', b'".."', r"tasks\.0\.files"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(tmp_path: Path, was: bytes, now: bytes, named: str) -> None:
    """By the place of what is wrong; a name of a file never leads out of the folder."""
    text = Snapshot(HOME, (SAVED,)).dump()
    assert was in text
    with pytest.raises(StateError, match=rf"is not a state snapshot: .*{named}"):
        Snapshot.load(written(tmp_path, text.replace(was, now)))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (replace(HOME, pipeline="flights"), "of pipeline 'payments', not of 'flights'"),
        (replace(HOME, cluster="cluster-b"), "made on cluster cluster-a, and this is cluster-b"),
        (replace(HOME, partitions=24), "made for 12 partitions and the events now have 24"),
        (replace(HOME, tables=TABLES | {"cards": TableSignature(32, "cards-1@id9")}), "has rows of cards of another"),
        (replace(HOME, tables={"cards": TABLES["cards"]}), "has rows of shops of another declaration"),
    ],
)
def test_a_snapshot_of_something_else_is_refused(wanted: SnapshotOrigin, told: str) -> None:
    """Another pipeline, cluster, number of partitions, declaration or changelog."""
    snapshot = Snapshot(HOME, (SAVED,))
    snapshot.check(HOME)
    with pytest.raises(StateMismatch, match=told):
        snapshot.check(wanted)


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ((12,), "task 12 is not one of the 12 tasks"),
        ((10**30,), "not one of the 12"),
        ((3, 4, 3), "task 3 is there twice"),
    ],
)
def test_the_snapshot_has_a_task_that_cannot_be(tasks: tuple[int, ...], told: str) -> None:
    """A number that the pipeline does not have, or the same twice, is refused before a file is copied."""
    snapshot = Snapshot(HOME, tuple(replace(SAVED, task=task) for task in tasks))
    with pytest.raises(StateError, match=told):
        snapshot.check(HOME)
    Snapshot(HOME, (SAVED, NOTHING)).check(HOME)
