"""The lock around the task manager: threads post events here, and what the manager decides is started before the lock
is released, so that actions are started in the order in which they were decided.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.runtime.task_actions import ManagerAction
from pipeline.runtime.task_events import ManagerEvent
from pipeline.runtime.task_manager import TaskManager

T = TypeVar("T")


class Mailbox:
    """Serializes the events of all threads. Rebalance callbacks, hand-outs and commits all take this one lock.

    ``connect`` says who starts actions. To start one must not block and must not post: it hands the action to a thread.
    """

    def __init__(self, manager: TaskManager, monotonic: Callable[[], float]) -> None:
        self._manager = manager
        self._monotonic = monotonic
        self._start: Callable[[ManagerAction], None] = lambda _: None
        self._handled = threading.Condition(threading.Lock())

    def connect(self, start: Callable[[ManagerAction], None]) -> None:
        """Have actions started by ``start`` from now on."""
        self._start = start

    def post(self, event: ManagerEvent) -> list[ManagerAction]:
        """Handle an event and start what follows; return what was started."""
        return self.post_and_read(event, lambda: None)[0]

    def post_and_read(self, event: ManagerEvent, read: Callable[[], T]) -> tuple[list[ManagerAction], T]:
        """As ``post``, and return also what ``read`` returns under the same lock."""
        with self._handled:
            actions = self._manager.handle(event, self._monotonic())
            for action in actions:
                self._start(action)
            self._handled.notify_all()
            return actions, read()

    def ask(self, question: Callable[[TaskManager], T]) -> T:
        """Return the answer to a question to the manager, asked under the lock. It must not change anything."""
        with self._handled:
            return question(self._manager)

    def wait_for(self, condition: Callable[[TaskManager], bool], timeout: float) -> bool:
        """Wait until a condition holds; False if that took longer than the timeout (seconds)."""
        with self._handled:
            return self._handled.wait_for(lambda: condition(self._manager), timeout)
