"""Profiles the time of a contender: a flame graph for speedscope.app, by py-spy."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from surgetank.errors import StartupError

SECONDS, RATE = 8, 200


@contextlib.contextmanager
def profiled(process: psutil.Popen, name: str, folder: Path | None) -> Iterator[None]:
    """Profile a process, from its start, while the body runs; do nothing without a folder."""
    if folder is None:
        yield
        return
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise StartupError("--profile needs py-spy; install it with: pip install py-spy")
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{name}.speedscope.json"
    command = [spy, "record", "--pid", str(process.pid), "--duration", str(SECONDS), "--rate", str(RATE)]
    command += ["--threads", "--format", "speedscope", "--output", str(out)]
    recorder = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        yield
        _, words = recorder.communicate(timeout=SECONDS + 10)
        if recorder.returncode:
            raise StartupError(f"py-spy could not look at the process: {words.decode().strip()[-500:]}")
    finally:
        if recorder.poll() is None:
            recorder.kill()
            recorder.wait()
