"""The lock around the task manager: threads post events, and the resulting actions are started before the lock is
released, so that actions start in the order in which the manager returned them.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.runtime.task_actions import ManagerAction
from pipeline.runtime.task_events import ManagerEvent
from pipeline.runtime.task_manager import TaskManager

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
        self._handled = threading.Condition(threading.Lock())

    def connect(self, start: Callable[[ManagerAction], None]) -> None:
        """Set the function that starts actions."""
        self._start = start

    def post(self, event: ManagerEvent) -> list[ManagerAction]:
        """Handle an event, start the resulting actions and return them."""
        return self.post_and_read(event, lambda: None)[0]

    def post_and_read(self, event: ManagerEvent, read: Callable[[], T]) -> tuple[list[ManagerAction], T]:
        """Post an event; return the actions and the result of ``read``, called under the same lock."""
        with self._handled:
            actions = self._manager.handle(event, self._monotonic())
            for action in actions:
                self._start(action)
            self._handled.notify_all()
            return actions, read()

    def ask(self, question: Callable[[TaskManager], T]) -> T:
        """Return the result of ``question``, called with the manager under the lock. It must not change state."""
        with self._handled:
            return question(self._manager)

    def wait_for(self, condition: Callable[[TaskManager], bool], timeout: float) -> bool:
        """Wait until a condition holds; return False if it does not within ``timeout`` seconds."""
        with self._handled:
            return self._handled.wait_for(lambda: condition(self._manager), timeout)
