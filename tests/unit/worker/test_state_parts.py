"""surgetank.worker.state_parts: the folder of a worker's state."""

import subprocess
import sys
from pathlib import Path

import pytest

from surgetank.worker.state_parts import state_directory


def test_two_processes_have_one_state_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The start of the second ends with status 2 and one line."""
    first = state_directory(tmp_path, "w")
    code = (
        "import sys; from pathlib import Path; from surgetank.runtime.faust_host import FaustHost; "
        "from surgetank.worker.state_parts import state_directory; "
        "FaustHost(build=lambda: state_directory(Path(sys.argv[1]), 'w'), put=None)._checked()"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    said = capfd.readouterr().err
    assert ended.returncode == 2, said
    assert [line.partition(":")[0] for line in said.splitlines()] == ["surgetank"]
    assert f"state in {first.folder} is in use by another process" in said
