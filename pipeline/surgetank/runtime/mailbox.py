"""The lock around the task manager: threads post events, and the resulting actions are started before the lock is
released, so that actions start in the order in which the manager returned them.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from surgetank.runtime.task_actions import ManagerAction
from surgetank.runtime.task_events import ManagerEvent
from surgetank.runtime.task_manager import TaskManager

T = TypeVar("T")


class Mailbox:
    """Serializes the events of all threads. Rebalance callbacks, new batches and commits all take this lock.

    ``connect`` sets the function that starts actions. It must not block and must not post events: it passes each
    action to a thread.
    """

    def __init__(self, manager: TaskManager, monotonic: Callable[[], float]) -> None:
        self._manager = manager
        self._monotonic = monotonic
        self._start: Callable[[ManagerAction], None] = lambda _: None
        self._lock = threading.Lock()
        self._waiting: list[tuple[Callable[[TaskManager], bool], threading.Lock]] = []  # condition, held until it holds

    def connect(self, start: Callable[[ManagerAction], None]) -> None:
        """Set the function that starts actions."""
        self._start = start

    def post(self, event: ManagerEvent) -> list[ManagerAction]:
        """Handle an event, start the resulting actions and return them."""
        return self.post_and_read(event, lambda: None)[0]

    def post_and_read(self, event: ManagerEvent, read: Callable[[], T]) -> tuple[list[ManagerAction], T]:
        """Post an event; return the actions and the result of ``read``, called under the same lock."""
        with self._lock:
            actions = self._manager.handle(event, self._monotonic())
            for action in actions:
                self._start(action)
            for waiting in [each for each in self._waiting if each[0](self._manager)]:
                self._waiting.remove(waiting)
                waiting[1].release()
            return actions, read()

    def ask(self, question: Callable[[TaskManager], T]) -> T:
        """Return the result of ``question``, called with the manager under the lock. It must not change state."""
        with self._lock:
            return question(self._manager)

    def wait_for(self, condition: Callable[[TaskManager], bool], timeout: float) -> bool:
        """Wait until a condition holds after an event; return False if it does not within ``timeout`` seconds.

        The thread that posts an event evaluates the condition, under the lock: a thread that still has to wait is not
        woken, which would take the interpreter lock from the poster.
        """
        blocked = threading.Lock()
        with self._lock:
            if condition(self._manager):
                return True
            blocked.acquire()
            waiting = condition, blocked
            self._waiting.append(waiting)
        if blocked.acquire(timeout=timeout):
            return True
        with self._lock:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            return condition(self._manager)
