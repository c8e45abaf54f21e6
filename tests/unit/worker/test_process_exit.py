"""surgetank.worker.process_exit: how a worker ends after an error."""

import logging
import os
import threading
from typing import Any

import pytest

from surgetank.errors import Stuck
from surgetank.worker import process_exit
from surgetank.worker.process_exit import ProcessExit

SECONDS = 30.0


class Timeline:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.reported: list[Any] = []

    def failed(self, exit_code: int, reason: str) -> None:
        """Keep it."""
        self.reported.append((exit_code, reason))

    def close(self) -> None:
        """Keep it."""
        self.reported.append("closed")


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> "tuple[list[int], threading.Event]":
    """Return the exit codes instead of ending the process, and an event that is set with the first one."""
    codes: list[int] = []
    ended = threading.Event()

    def exit_with(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(os, "_exit", exit_with)
    return codes, ended


@pytest.mark.parametrize(("error", "code"), [(Stuck("stuck"), 4), (ValueError("a bug"), 1)])
def test_the_process_ends_with_the_code_of_the_first_error(
    exits: tuple[list[int], threading.Event], caplog: pytest.LogCaptureFixture, error: Exception, code: int
) -> None:
    """After the shutdown and the report to the timeline; later errors change nothing."""
    codes, ended = exits
    timeline, order = Timeline(), []
    ending = ProcessExit(timeline)  # type: ignore[arg-type]
    ending.before(lambda: order.append("shutdown"))

    with caplog.at_level(logging.ERROR):
        ending.fail(error)
        ending.fail(RuntimeError("later"))

    assert ended.wait(SECONDS)
    assert codes == [code]
    assert order == ["shutdown"]
    assert timeline.reported == [(code, str(error)), "closed"]
    assert len(caplog.records) == 1


def test_a_shutdown_that_hangs_does_not_keep_the_process(
    exits: tuple[list[int], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time and no more."""
    codes, ended = exits
    monkeypatch.setattr(process_exit, "SHUTDOWN_SECONDS", 0.01)
    release = threading.Event()
    ending = ProcessExit(Timeline())  # type: ignore[arg-type]
    ending.before(lambda: hang(release))

    ending.fail(Stuck("stuck"))

    assert ended.wait(SECONDS)
    release.set()
    assert codes == [4]


def hang(release: threading.Event) -> None:
    """Wait."""
    release.wait(SECONDS)
