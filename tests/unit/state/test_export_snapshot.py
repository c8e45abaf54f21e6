"""surgetank.state.export_snapshot: stores are exported from their folders, also while they are written to."""

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from surgetank.errors import StateError, StateMismatch
from surgetank.state.export_snapshot import export_snapshot
from surgetank.state.snapshot import MANIFEST, Snapshot, SnapshotOrigin
from surgetank.state.store_identity import StoreIdentity
from tests.unit.state.stores import (
    CHANGELOG,
    PAYMENTS,
    SHAPES,
    SOURCE,
    after,
    assert_true_to_its_positions,
    opened,
    positions,
    step,
)

ROOT = Path(__file__).resolve().parents[3]
HOME = SnapshotOrigin("payments", "cluster-a", 12, SHAPES)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where workers keep state of the pipeline."""
    return tmp_path / "state" / "payments"


def written(path: Path, steps: int, identity: StoreIdentity = PAYMENTS) -> None:
    """Make a store with so many writes, and close it."""
    store = opened(path, identity)
    for number in range(1, steps + 1):
        store.write(step(number), positions(number))
    store.close()


def silent(what: str, done: int, total: int) -> None:
    """Take note of nothing, but that it is sensible."""
    assert what
    assert 0 < done <= total


def test_an_export_is_a_store_that_a_manifest_tells_of(base: Path, tmp_path: Path) -> None:
    """Rows and positions are those that were there; the manifest tells them, and the source is as it was."""
    written(base / "w1" / "3", 20)
    before = {path.name: path.stat().st_size for path in (base / "w1" / "3").iterdir()}

    snapshot = export_snapshot(base, tmp_path / "out" / "here", HOME, silent)

    assert Snapshot.load(tmp_path / "out" / "here") == snapshot
    (saved,) = snapshot.tasks
    assert (saved.task, saved.worker) == (3, "w1")
    assert saved.positions == {SOURCE: 200, CHANGELOG: 140}
    assert saved.rows == {table: len(rows) for table, rows in after(20).items()}
    assert {path.name for path in (tmp_path / "out" / "here" / "3").iterdir()} == set(saved.files)
    assert {path.name: path.stat().st_size for path in (base / "w1" / "3").iterdir()} == before
    copy = opened(tmp_path / "out" / "here" / "3")
    assert assert_true_to_its_positions(copy) == 20
    copy.close()


def test_a_store_is_exported_while_it_is_written_to(base: Path, tmp_path: Path) -> None:
    """Whenever it is exported, all of the first n writes are in it, and it gets on; the writer notices nothing."""
    path, reached = base / "w1" / "3", [0]
    command = [sys.executable, "-m", "tests.unit.state.writer", "write", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as writer:
        while len(reached) < 7:
            folder = tmp_path / f"out-{len(reached)}"
            try:
                export_snapshot(base, folder, HOME, silent)
            except StateError as error:
                assert "no such state" in str(error) or "on disk yet" in str(error)  # noqa: PT017 - it begins
                with suppress(subprocess.TimeoutExpired):
                    writer.wait(0.05)
                assert writer.poll() is None
                continue
            copy = opened(folder / "3")
            reached.append(assert_true_to_its_positions(copy))
            copy.close()
        assert writer.poll() is None
        writer.kill()
    assert reached == sorted(reached)
    assert reached[1] < reached[-1]
    store = opened(path)
    assert assert_true_to_its_positions(store) >= reached[-1]
    store.close()


def test_of_several_workers_the_one_that_includes_most_is_taken(base: Path, tmp_path: Path) -> None:
    """But not state of another declaration, nor a damaged one, however much that is."""
    written(base / "a" / "3", 5)
    written(base / "b" / "3", 7)
    written(base / "c" / "3", 30, replace(PAYMENTS, partitions=24))
    written(base / "d" / "3", 30)
    (base / "d" / "3" / "CURRENT").unlink()
    assert [saved.worker for saved in export_snapshot(base, tmp_path / "out", HOME, silent).tasks] == ["b"]
    assert [saved.worker for saved in export_snapshot(base, tmp_path / "a", HOME, silent, worker="a").tasks] == ["a"]


def test_only_what_is_asked_for_is_taken(base: Path, tmp_path: Path) -> None:
    """One task, one worker; what is not there is an error that names what is, and leaves no folder."""
    for task in (0, 3, 11):
        written(base / "w1" / str(task), 2, replace(PAYMENTS, task=task))
    assert [saved.task for saved in export_snapshot(base, tmp_path / "all", HOME, silent).tasks] == [0, 3, 11]
    assert [saved.task for saved in export_snapshot(base, tmp_path / "one", HOME, silent, task=3).tasks] == [3]
    with pytest.raises(StateError, match=r"no such state in .*: w1/0, w1/3, w1/11"):
        export_snapshot(base, tmp_path / "none", HOME, silent, task=4)
    with pytest.raises(StateError, match="no such state"):
        export_snapshot(base, tmp_path / "none", HOME, silent, worker="w2")
    assert not (tmp_path / "none").exists()


def test_what_is_in_memory_only_is_not_there_yet(base: Path, tmp_path: Path) -> None:
    """A task that runs and has nothing on the disk is told as such beside others; nothing at all is an error."""
    running = opened(base / "w1" / "3")
    running.write(step(1), positions(1))
    with pytest.raises(StateError, match="on disk yet"):
        export_snapshot(base, tmp_path / "out", HOME, silent)
    assert not (tmp_path / "out").exists()
    written(base / "w1" / "4", 2, replace(PAYMENTS, task=4))

    nothing, something = export_snapshot(base, tmp_path / "out", HOME, silent).tasks

    assert (nothing.files, nothing.positions, something.positions) == ({}, {}, positions(2))
    running.close()


def test_an_export_never_overwrites(base: Path, tmp_path: Path) -> None:
    """A folder that exists is refused by name, and left as it is."""
    written(base / "w1" / "3", 2)
    (tmp_path / "out").mkdir()
    with pytest.raises(StateError, match=r"cannot export state to .*out: it exists"):
        export_snapshot(base, tmp_path / "out", HOME, silent)
    assert list((tmp_path / "out").iterdir()) == []


def test_state_that_no_worker_would_take_is_refused(base: Path, tmp_path: Path) -> None:
    """Of other partitions, or of another declaration; no folder is left."""
    written(base / "w1" / "3", 2)
    for home, told in (
        (replace(HOME, partitions=24), "of 12 partitions, not to payments/3 of 24"),
        (replace(HOME, tables={"cards": SHAPES["cards"]}), "rows of shops of another declaration"),
    ):
        with pytest.raises(StateMismatch, match=told):
            export_snapshot(base, tmp_path / "out", home, silent)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", [0.25, 0.999], ids=["rows", "index"])
def test_damage_is_not_exported(base: Path, tmp_path: Path, place: float) -> None:
    """A store whose files were changed on the disk is refused, by task and worker: its copy would be of no use."""
    written(base / "w1" / "3", 40)
    for file in (base / "w1" / "3").glob("*.sst"):
        with file.open("r+b") as damaged:
            damaged.seek(int(file.stat().st_size * place))
            damaged.write(b"\xff" * 8)
    with pytest.raises(StateError, match="task 3 of w1 cannot be exported"):
        export_snapshot(base, tmp_path / "out", HOME, silent)
    assert not (tmp_path / "out").exists()


def test_a_manifest_is_read_by_people_too(base: Path, tmp_path: Path) -> None:
    """It is JSON: where the state belongs, and of each task positions, rows and a checksum per file."""
    written(base / "w1" / "3", 2)
    export_snapshot(base, tmp_path / "out", HOME, silent)
    told = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert (told["home"]["cluster"], told["home"]["partitions"]) == ("cluster-a", 12)
    (task,) = told["tasks"]
    assert task["positions"] == positions(2)
    assert all(len(file["sha256"]) == 64 for file in task["files"].values())
