"""The store and death: whatever was killed, and whenever, what is on disk is what its positions say."""

import multiprocessing
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.state.stores import assert_true_to_its_positions, opened
from tests.unit.state.writer import write

ROOT = Path(__file__).resolve().parents[3]
WRITER = [sys.executable, "-m", "tests.unit.state.writer"]
# Each process is a copy of one that has imported everything and opened nothing: it starts within milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.unit.state.writer"])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_writer_leaves_what_its_positions_say(tmp_path: Path, seed: int) -> None:
    """After kill -9 in the middle of writes, rows of all tables and positions are those of one write; nothing is torn.

    Again and again on the same store; it never goes back behind what was there before, and it gets on.
    """
    rng, path = random.Random(seed), tmp_path / "store"
    reached = 0
    for _ in range(6):
        reports, report = PROCESSES.Pipe(duplex=False)
        child = PROCESSES.Process(target=write, args=(path, 100_000, report.send))
        child.start()
        report.close()
        for _ in range(rng.randrange(1, 120)):
            reports.recv()  # an EOFError means that the writer ended by itself
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        store = opened(path)
        number = assert_true_to_its_positions(store)
        store.close()
        assert number >= reached
        reached = number
    assert reached > 0


def assert_full_and_then_on(printed: str) -> None:
    """Check that the writer ended with DiskFull, left a true state, and went on from there once there was room."""
    error = re.search(r"^(\d+)\nDiskFull exit 6: no space left for state in .*No data is lost", printed, re.MULTILINE)
    kept = re.search(r"^kept (\d+)$", printed, re.MULTILINE)
    then = re.search(r"^then (\d+)$", printed, re.MULTILINE)
    assert error is not None, printed
    assert kept is not None, printed
    assert then is not None, printed
    assert int(kept.group(1)) <= int(error.group(1))
    assert int(then.group(1)) == int(kept.group(1)) + 40


def test_no_room_for_files_is_an_error_of_its_own(tmp_path: Path) -> None:
    """When the system refuses to let files grow, writes end with DiskFull; with room again, the store goes on."""
    command = [*WRITER, "fill small files", str(tmp_path / "store")]
    assert_full_and_then_on(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_a_full_file_system_is_an_error_of_its_own(tmp_path: Path) -> None:
    """The same on a file system of three megabytes that is really full."""
    mount = (
        "mount -t tmpfs -o size=3m tmpfs $0 && head -c 1500000 /dev/zero > $0/ballast && exec $1 -m $2 fill $0/store"
    )
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(tmp_path), sys.executable]
    command += ["tests.unit.state.writer"]
    probe = subprocess.run([*command[:6], "mount -t tmpfs tmpfs $0", str(tmp_path)], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_full_and_then_on(done.stdout)
