"""SIGTERM and SIGINT before Faust has set its handlers."""

import signal
import subprocess
import sys

import pytest

# The signal arrives when the command looks for its pipeline: the engine has not been imported yet.
EARLY = """
import os
from surgetank.cli import main, pipeline_argument
pipeline_argument.located = lambda _: os.kill(os.getpid(), {signal})
main()
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_stopped_before_it_has_started_ends_with_status_0(stop: signal.Signals) -> None:
    """It prints no more than that it starts."""
    command = [sys.executable, "-c", EARLY.format(signal=int(stop)), "worker", "any"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "starting a worker of any" in line
