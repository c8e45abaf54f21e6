"""Runs a command, and runs it again when a file of the project has changed."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from surgetank.drills.project_files import changes, project_files

_LOOK_SECONDS = 0.5
_STOP_SECONDS = 45.0  # more than the command needs to stop a worker


def restart_on_change(
    command: Sequence[str], folder: Path, say: Callable[[str], None], *, ended: threading.Event | None = None
) -> None:
    """Run a command until ``ended``, or KeyboardInterrupt; ``say`` is given a line when the command ends or restarts.

    The command is stopped with SIGTERM. If it ends by itself, it is run again at the next change of a file.
    """
    ended = ended or threading.Event()
    while not ended.is_set():
        before = project_files(folder)
        # A session of its own: Ctrl-C reaches this process only, which stops the command.
        process = subprocess.Popen(command, cwd=folder, start_new_session=True)
        try:
            changed = _wait_for_change(process, folder, before, say, ended)
        finally:
            _stop(process)
        if changed:
            say(f"changed: {', '.join(map(str, changed[:3]))}{' ...' if len(changed) > 3 else ''}; starting again")


def _wait_for_change(
    process: "subprocess.Popen[bytes]",
    folder: Path,
    before: dict[Path, tuple[int, int]],
    say: Callable[[str], None],
    ended: threading.Event,
) -> list[Path]:
    told = False
    while not ended.wait(_LOOK_SECONDS):
        if changed := changes(before, project_files(folder)):
            return changed
        if not told and process.poll() is not None:
            told = True
            say(f"ended with status {process.returncode}; waiting for a change of a file")
    return []


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()  # no effect on one that has ended
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
