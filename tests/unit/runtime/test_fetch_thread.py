"""Tests that the computing thread reads when it needs records, and the background thread while the worker lags."""

import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from surgetank.runtime import fetch_thread
from surgetank.runtime.fetch_thread import FetchThread
from surgetank.runtime.fetcher import READ_ROWS_MAX, Fetcher
from surgetank.runtime.record_order import ArrivalOrder
from surgetank.runtime.record_queues import RecordQueues

SECONDS = 30.0


class ScriptedFetcher:
    """Returns the scripted numbers of rows in turn, then 0, and records which thread polled and whether two did."""

    def __init__(self, *rows: int) -> None:
        self._rows = list(rows)
        self._busy = threading.Lock()
        self.polled = threading.Semaphore(0)
        self.polls: list[str] = []
        self.overlapped = False
        self.stopped = threading.Event()

    def poll(self, timeout: float) -> int:
        """Return the next number."""
        if not self._busy.acquire(blocking=False):
            self.overlapped = True
            return 0
        self.polls.append(threading.current_thread().name)
        rows = self._rows.pop(0) if self._rows else 0
        self._busy.release()
        self.polled.release()
        return rows

    def stop(self) -> None:
        """Record the stop."""
        self.stopped.set()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FetchThread]]:
    """Start threads over a fetcher, with a pause as given; stop them and check that none has failed."""
    running: list[tuple[FetchThread, ScriptedFetcher]] = []
    errors: list[BaseException] = []

    def start(fetcher: ScriptedFetcher, pause: float) -> FetchThread:
        monkeypatch.setattr(fetch_thread, "PAUSE_SECONDS", pause)
        queues = RecordQueues(1, 1, ArrivalOrder())
        thread = FetchThread(cast("Fetcher", fetcher), queues, beat=lambda: None, on_failure=errors.append)
        thread.start()
        running.append((thread, fetcher))
        return thread

    yield start
    for thread, fetcher in running:
        thread.stop(SECONDS)
        assert fetcher.stopped.is_set()
        assert not fetcher.overlapped
        assert thread.poll(0) == 0, "a closed consumer must not be polled"
    assert not errors


def test_full_reads_are_repeated_without_a_pause(started: Callable[..., FetchThread]) -> None:
    """They mean that the worker lags; the first read that is not full begins the pause."""
    fetcher = ScriptedFetcher(READ_ROWS_MAX, READ_ROWS_MAX, 1, 1)
    started(fetcher, pause=SECONDS)

    assert all(fetcher.polled.acquire(timeout=SECONDS) for _ in range(3))
    assert not fetcher.polled.acquire(timeout=0.05)
    assert fetcher.polls == ["fetcher"] * 3


def test_the_computing_thread_reads_during_the_pause(started: Callable[..., FetchThread]) -> None:
    """It reads by itself, without waking the background thread."""
    fetcher = ScriptedFetcher(0, 7, 5)
    thread = started(fetcher, pause=SECONDS)
    assert fetcher.polled.acquire(timeout=SECONDS)

    assert thread.poll(SECONDS) == 7
    assert thread.poll(0) == 5
    assert fetcher.polls == ["fetcher", threading.current_thread().name, threading.current_thread().name]


def test_the_background_thread_polls_while_the_computing_thread_does_not(started: Callable[..., FetchThread]) -> None:
    """A change of the assignment must not wait for the end of a long computation."""
    fetcher = ScriptedFetcher()
    started(fetcher, pause=0.001)

    assert all(fetcher.polled.acquire(timeout=SECONDS) for _ in range(5))


def test_two_threads_never_poll_at_the_same_time(started: Callable[..., FetchThread]) -> None:
    """The consumer's buffers are for one thread at a time."""
    fetcher = ScriptedFetcher(*[1] * 2_000)
    thread = started(fetcher, pause=0.0)

    for _ in range(1_000):
        thread.poll(0)


def test_a_consumer_that_was_closed_after_a_failure_is_not_polled() -> None:
    """The computing thread may still ask for records before the process ends: it gets none."""

    class FailingFetcher(ScriptedFetcher):
        """Raises at each poll."""

        def poll(self, timeout: float) -> int:
            """Fail, or record that the closed consumer was polled."""
            self.polls.append("closed" if self.stopped.is_set() else "open")
            raise RuntimeError("broken")

    fetcher, failed = FailingFetcher(), threading.Event()
    queues = RecordQueues(1, 1, ArrivalOrder())
    thread = FetchThread(cast("Fetcher", fetcher), queues, beat=lambda: None, on_failure=lambda _: failed.set())
    thread.start()
    assert failed.wait(SECONDS)
    assert fetcher.stopped.wait(SECONDS)

    assert thread.poll(0) == 0
    assert fetcher.polls == ["open"]
