"""surgetank.state.state_folders: what lies on this machine."""

from pathlib import Path

from surgetank.state.state_folders import StateFolder, remove, state_folders
from surgetank.state.store import destroy
from tests.unit.state.stores import opened, positions, step


def test_folders_are_told_by_worker_and_task(tmp_path: Path) -> None:
    """In the order of the numbers, with the bytes of their files; what is no task is left out, and one may run."""
    base = tmp_path / "payments"
    for worker, task in (("b", 10), ("b", 9), ("a", 0)):
        (base / worker).mkdir(parents=True, exist_ok=True)
        store = opened(base / worker / str(task))
        store.write(step(1), positions(1))
        store.close()
    (base / "a" / "owner").write_bytes(b"x" * 999)
    running = opened(base / "a" / "0")

    found = state_folders(base)

    assert [(each.worker, each.task) for each in found] == [("a", 0), ("b", 9), ("b", 10)]
    assert all(each.disk_bytes > 1000 for each in found)
    running.close()
    destroy(found[0].path)
    assert [each.task for each in state_folders(base)] == [9, 10]


def test_what_is_removed_is_gone(tmp_path: Path) -> None:
    """The whole folder of a pipeline; one that is not there is no error."""
    base = tmp_path / "payments"
    (base / "a" / "3").mkdir(parents=True)
    assert state_folders(base) == [StateFolder(3, "a", base / "a" / "3", 0)]

    remove(base)
    remove(base)

    assert state_folders(base) == []
