"""The folder of a local cluster is used by one process at a time, and who waits says for what."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.kafka.local.file_lock import file_lock
from surgetank.kafka.retry import wait_until

HOLD = """
import sys
from pathlib import Path
from surgetank.kafka.local.file_lock import file_lock
with file_lock(Path(sys.argv[1]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(file: Path) -> Iterator[int]:
    """Let another process hold the lock of a file; yield its process id."""
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid


@pytest.mark.parametrize("command", [("chaos", "odd"), ("chaos", "restore"), ("demo", "flights")])
def test_a_second_drill_in_one_folder(
    command: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at once, before it stops the brokers of the first one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LocalCluster, "up", lambda *_, **__: pytest.fail("the brokers are those of the first one"))
    folder = tmp_path / ".surgetank" / ("demo" if command[0] == "demo" else command[1]) / "kafka"
    with held(folder / ".user") as pid:
        ended = CliRunner().invoke(app, command)
    assert str(ended.exception).startswith(f"{folder} is in use by process {pid}, ")
    assert getattr(ended.exception, "exit_code", None) == 2


def test_who_waits_for_another_start_of_the_brokers_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the folder and the process; then it goes on."""
    caplog.set_level(logging.WARNING)
    cluster, stopped = LocalCluster(tmp_path / "kafka"), threading.Event()

    def stop() -> None:
        cluster.down()
        stopped.set()

    with held(cluster.data / ".lock") as pid:
        thread = threading.Thread(target=stop)
        thread.start()
        assert wait_until(lambda: bool(caplog.messages), 30, 0.01)
        assert caplog.messages == [f"process {pid} starts or stops the Kafka in {cluster.data}; waiting"]
        assert not stopped.is_set()
    thread.join(30)
    assert stopped.is_set()


def test_a_lock_names_the_process_that_has_it_now(tmp_path: Path) -> None:
    """Not one that had it before, and whose id was longer."""
    (tmp_path / "lock").write_text("12345678901\n")
    with file_lock(tmp_path / "lock", pytest.fail):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    with file_lock(tmp_path / "lock", pytest.fail):
        pass
