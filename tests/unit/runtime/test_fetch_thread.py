"""Tests that the fetch thread pauses after a read only while nobody waits for records."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest

from pipeline.runtime import fetch_thread
from pipeline.runtime.fetch_thread import FetchThread
from pipeline.runtime.fetcher import Fetcher
from pipeline.runtime.record_order import ArrivalOrder
from pipeline.runtime.record_queues import RecordQueues

SECONDS = 30.0


class EndlessFetcher:
    """Reads something at each poll, and counts the polls."""

    def __init__(self) -> None:
        self.polls = 0
        self.stopped = threading.Event()

    def poll(self, timeout: float) -> bool:
        """Read something."""
        self.polls += 1
        return True

    def stop(self) -> None:
        """Record the stop."""
        self.stopped.set()


@pytest.fixture
def fetcher() -> EndlessFetcher:
    """Return a fetcher that always has records."""
    return EndlessFetcher()


@pytest.fixture
def thread(fetcher: EndlessFetcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[FetchThread]:
    """Return a running fetch thread whose pause is longer than any test."""
    monkeypatch.setattr(fetch_thread, "PAUSE_SECONDS", SECONDS)
    errors: list[BaseException] = []
    running = FetchThread(
        cast("Fetcher", fetcher), RecordQueues(1, 1, ArrivalOrder()), beat=lambda: None, on_failure=errors.append
    )
    running.start()
    yield running
    running.stop(SECONDS)
    assert fetcher.stopped.is_set()
    assert not errors


def test_a_computing_thread_that_waits_ends_the_pause(thread: FetchThread, fetcher: EndlessFetcher) -> None:
    """Each wait is answered by a new read, without the pause."""
    for polls in (1, 2, 3):
        assert thread.poll(SECONDS)
        assert fetcher.polls == polls


def test_a_look_without_waiting_leaves_the_fetcher_in_its_pause(thread: FetchThread, fetcher: EndlessFetcher) -> None:
    """What was read before is reported once."""
    assert thread.poll(SECONDS)

    assert not thread.poll(0)
    assert fetcher.polls == 1
