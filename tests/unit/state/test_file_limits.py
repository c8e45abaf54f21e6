"""surgetank.state.file_limits: how many files a worker may have open."""

import contextlib
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from surgetank.errors import SettingsError
from surgetank.state import file_limits


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        ((1024, 500_000), (file_limits.WANTED, 500_000)),
        ((1024, resource.RLIM_INFINITY), (file_limits.WANTED, resource.RLIM_INFINITY)),
        ((1024, 4096), (4096, 4096)),
        ((4096, 4096), None),
        ((500_000, 500_000), None),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None),
    ],
)
def test_the_limit_is_raised_as_far_as_may_be(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: tuple[int, int] | None
) -> None:
    """The hard limit stays, and a soft one that is enough does too."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))

    file_limits.raise_limit()

    assert told == ([raised] if raised else [])


@pytest.mark.parametrize(("hard", "enough"), [(48, False), (255, False), (256, True)])
def test_a_worker_needs_as_many_files_as_it_says(monkeypatch: pytest.MonkeyPatch, hard: int, enough: bool) -> None:
    """With one file less it is refused."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    with contextlib.nullcontext() if enough else pytest.raises(SettingsError, match=f"may open {hard} files here"):
        file_limits.raise_limit()


def test_a_limit_of_48_open_files() -> None:
    """A worker ends at once with status 2 and says the limit; without files its clients would time out for ever."""
    ended = subprocess.run(
        [sys.executable, "-m", "surgetank.cli", "worker", "topology.flights", "--bootstrap", "127.0.0.1:9"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert ended.returncode == 2, ended.stderr
    assert "a process may open 48 files here (ulimit -n" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_system_that_refuses_is_no_reason_not_to_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, with the limit that stays."""

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 10_000))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    file_limits.raise_limit()

    assert "the limit of open files stays at 256" in caplog.text
