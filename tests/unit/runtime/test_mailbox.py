"""Threads that wait in the mailbox until an event changes the state of the task manager."""

import threading
import time

import pytest

from surgetank.records import TaskId
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.task_events import PartitionsAssigned
from surgetank.runtime.task_manager import TaskManager

LONG = 5.0  # seconds, more than any test needs
FIRST, SECOND = TaskId("scoring", 0), TaskId("scoring", 1)


@pytest.fixture
def mailbox() -> Mailbox:
    """A mailbox of a manager that owns no task."""
    manager = TaskManager(
        {"scoring": ("events",)},
        identity="w",
        interval_seconds=0.1,
        batch_rows_max=lambda: 1,
        close_deadline_seconds=1.0,
    )
    return Mailbox(manager, time.monotonic)


def test_a_thread_is_woken_only_by_the_event_that_ends_its_wait(mailbox: Mailbox) -> None:
    """Its condition is evaluated by the threads that post events; the waiting thread runs only when it holds."""
    evaluated: list[int] = []
    begun = threading.Event()

    def owned(manager: TaskManager) -> bool:
        evaluated.append(threading.get_ident())
        begun.set()
        return SECOND in manager.tasks

    found: list[bool] = []
    waiting = threading.Thread(target=lambda: found.append(mailbox.wait_for(owned, LONG)), daemon=True)
    waiting.start()
    assert begun.wait(LONG)

    mailbox.post(PartitionsAssigned((FIRST,)))
    mailbox.post(PartitionsAssigned((SECOND,)))
    waiting.join(LONG)

    assert found == [True]
    assert evaluated == [waiting.ident, threading.get_ident(), threading.get_ident()]


def test_a_condition_that_holds_needs_no_event(mailbox: Mailbox) -> None:
    """The state may have changed before."""
    assert mailbox.wait_for(lambda manager: FIRST not in manager.tasks, LONG)


def test_a_wait_ends_at_its_timeout(mailbox: Mailbox) -> None:
    """Later events do not evaluate its condition any more."""
    evaluated: list[bool] = []

    def never(_: TaskManager) -> bool:
        evaluated.append(True)
        return False

    assert not mailbox.wait_for(never, 0.001)
    before = len(evaluated)
    mailbox.post(PartitionsAssigned((FIRST,)))

    assert len(evaluated) == before
