"""A command is run again when a file of the project has changed."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from surgetank.drills.project_files import changes, project_files
from surgetank.drills.restart_on_change import restart_on_change
from surgetank.kafka.retry import wait_until

SECONDS = 30.0


def test_only_what_a_worker_reads_is_watched(tmp_path: Path) -> None:
    """Hidden folders, virtual environments, tests, compiled files and other texts are left out."""
    for name in (
        "topology/a.py",
        "schemas/a.avsc",
        "surgetank.toml",
        ".surgetank/a.json",
        "env/lib/a.py",
        "tests/test_a.py",
        "topology/__pycache__/a.py",
        "README.md",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    found = project_files(tmp_path)
    assert sorted(map(str, found)) == ["schemas/a.avsc", "surgetank.toml", "topology/a.py"]


def test_files_that_come_go_and_change_are_changes() -> None:
    """By time of the last change and by size."""
    a, b, c, d = (Path(name) for name in "abcd")
    before = {a: (1, 1), b: (1, 1), c: (1, 1)}
    assert changes(before, before) == []
    assert changes(before, {a: (1, 1), b: (2, 1), d: (1, 1)}) == [b, c, d]


class Restarts:
    """Runs a command that writes a line to ``runs`` and then does ``then``, in a thread until ``stop``."""

    def __init__(self, folder: Path, then: str) -> None:
        self.runs, self.said, self._ended = folder / "runs", list[str](), threading.Event()
        code = f"open('runs', 'a').write('run\\n'); {then}"
        command = [sys.executable, "-c", code]
        arguments = (command, folder, self.said.append)
        self._thread = threading.Thread(target=restart_on_change, args=arguments, kwargs={"ended": self._ended})
        self._thread.start()

    def wait_for_runs(self, count: int) -> None:
        """Fail unless the command was started so many times."""
        assert wait_until(lambda: self.runs.exists() and self.runs.read_text() == "run\n" * count, SECONDS, 0.02)

    def stop(self) -> None:
        """End the thread; fail if it does not end."""
        self._ended.set()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def restarts(tmp_path: Path) -> Callable[[str], Restarts]:
    """Return a function that starts a command in a project with one file."""
    (tmp_path / "a.py").write_text("")
    return lambda then: Restarts(tmp_path, then)


def test_a_command_that_runs_is_stopped_and_run_again(tmp_path: Path, restarts: Callable[[str], Restarts]) -> None:
    """The line names the changed file."""
    running = restarts("import time; time.sleep(600)")
    try:
        running.wait_for_runs(1)
        (tmp_path / "a.py").write_text("changed")
        running.wait_for_runs(2)
        assert running.said == ["changed: a.py; starting again"]
    finally:
        running.stop()


def test_a_command_that_failed_is_run_again_when_a_file_changes(
    tmp_path: Path, restarts: Callable[[str], Restarts]
) -> None:
    """A mistake in a file does not end the loop."""
    running = restarts("raise SystemExit(2)")
    try:
        assert wait_until(lambda: bool(running.said), SECONDS, 0.02)
        assert running.said == ["ended with status 2; waiting for a change of a file"]
        (tmp_path / "b.py").write_text("")
        running.wait_for_runs(2)
    finally:
        running.stop()
