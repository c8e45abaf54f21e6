"""pipeline.compiled: loops compiled to machine code, and kept for the next process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUMS = """
from numba import int64
from pipeline.compiled import compiled

@compiled()
def square(number):
    return number * number

@compiled(int64(int64))
def squares(number):
    total = 0
    for each in range(number):
        total += square(each)
    return total
"""


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_what_was_kept_and_cut_short_is_compiled_again(tmp_path: Path, kind: str) -> None:
    """A machine that lost its power may leave empty files: the next process says so, and computes the same."""
    (tmp_path / "sums.py").write_text(SUMS)
    kept = tmp_path / "kept"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])

    def run() -> str:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(kept), "PYTHONPATH": path}
        command = [sys.executable, "-c", "from sums import squares; print(squares(4))"]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert ran.stdout.strip() == "14"
        return ran.stderr

    assert run() == ""
    cut = list(kept.rglob(f"*.{kind}"))
    assert len(cut) == 1  # square is a part of squares
    for each in cut:
        each.write_bytes(b"")
    assert "squares is compiled at each start" in run()
