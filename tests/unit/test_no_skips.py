"""``--no-skips``: what CI relies on, so that a program that is missing there does not pass as a test that ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IN_A_TEST = "import pytest\ndef test_it(): pytest.skip('nginx is missing')\n"
IN_A_FILE = "import pytest\npytest.skip('nginx is missing', allow_module_level=True)\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"


def run(folder: Path, code: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a file with this code under the hooks of these tests."""
    (folder / "test_one.py").write_text(code)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", "pytest.ini"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*command, *options, "test_one.py"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("processes", ["0", "1"])
@pytest.mark.parametrize("code", [IN_A_TEST, IN_A_FILE])
def test_a_skip_fails_the_run(tmp_path: Path, code: str, processes: str) -> None:
    """The skip of a test and of a whole file: the run fails and says what was skipped and why.

    Also if another process runs the tests, as in `make test`.
    """
    ended = run(tmp_path, code, "--no-skips", "-n", processes)
    assert ended.returncode != 0, ended.stdout
    assert "--no-skips forbids" in ended.stdout
    assert "nginx is missing" in ended.stdout


def test_without_it_a_skip_is_a_skip(tmp_path: Path) -> None:
    """On a machine without the program the rest of the run decides."""
    ended = run(tmp_path, IN_A_TEST)
    assert ended.returncode == 0, ended.stdout
    assert "1 skipped" in ended.stdout


def test_an_expected_failure_is_no_skip(tmp_path: Path) -> None:
    """pytest reports it as skipped; it ran."""
    ended = run(tmp_path, EXPECTED_FAILURE, "--no-skips")
    assert ended.returncode == 0, ended.stdout
    assert "1 xfailed" in ended.stdout
