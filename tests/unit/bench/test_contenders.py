"""The processes of contenders that have an environment of their own."""

import os
import subprocess
import sys

from ops.bench.contenders import SOURCES


def test_an_environment_without_the_engine_finds_it_and_the_benchmark() -> None:
    """Python without the installed packages: what is imported comes from the sources."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import ops.bench, surgetank.clock"],
        env=os.environ | {"PYTHONPATH": SOURCES},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
