"""``--no-skips``: what CI relies on, so that a program that is missing there does not pass as a test that ran."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
IN_A_TEST = "import pytest\ndef test_it(): pytest.skip('nginx is missing')\n"
IN_A_FILE = "import pytest\npytest.skip('curl is missing', allow_module_level=True)\n"
EXPECTED_FAILURE = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"


@pytest.fixture
def folder(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An empty folder, to run files under the hooks of these tests."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    return pytester


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_skip_fails_the_run(folder: pytest.Pytester, processes: str) -> None:
    """The skip of a test and of a whole file: the run fails and says what was skipped and why.

    Also if another process runs the tests, as in `make test`.
    """
    folder.makepyfile(test_one=IN_A_TEST, test_two=IN_A_FILE)
    ended = folder.runpytest_inprocess(
        "-p", "tests.conftest", "--no-skips", "--continue-on-collection-errors", "-n", processes
    )
    assert ended.ret != 0
    said = ended.stdout.str()
    assert said.count("--no-skips forbids") >= 2
    assert "nginx is missing" in said
    assert "curl is missing" in said


@pytest.mark.parametrize("code", [IN_A_TEST, IN_A_FILE])
def test_the_skip_alone_fails_the_run(folder: pytest.Pytester, code: str) -> None:
    """Each of them without the other."""
    folder.makepyfile(test_one=code)
    ended = folder.runpytest_inprocess("-p", "tests.conftest", "--no-skips")
    assert ended.ret != 0
    assert "--no-skips forbids" in ended.stdout.str()


def test_without_it_a_skip_is_a_skip(folder: pytest.Pytester) -> None:
    """On a machine without the program the rest of the run decides."""
    folder.makepyfile(test_one=IN_A_TEST)
    ended = folder.runpytest_inprocess("-p", "tests.conftest")
    assert ended.ret == 0
    ended.assert_outcomes(skipped=1)


def test_an_expected_failure_is_no_skip(folder: pytest.Pytester) -> None:
    """pytest reports it as skipped; it ran."""
    folder.makepyfile(test_one=EXPECTED_FAILURE)
    ended = folder.runpytest_inprocess("-p", "tests.conftest", "--no-skips")
    assert ended.ret == 0
    ended.assert_outcomes(xfailed=1)
