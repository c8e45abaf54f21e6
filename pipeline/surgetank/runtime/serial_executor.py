"""A thread that runs jobs one after the other, and a timed job when it is due."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class SerialExecutor:
    """Runs submitted jobs in order. ``due()`` returns the seconds until ``on_due`` must run; None: not scheduled."""

    def __init__(
        self,
        name: str,
        *,
        due: Callable[[], float | None],
        on_due: Callable[[], object],
        beat: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._due = due
        self._on_due = on_due
        self._beat = beat
        self._on_failure = on_failure
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job after the earlier ones. Its exception is set on the future and passed to ``on_failure``."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                result = job()
            except BaseException as error:
                done.set_exception(error)
                raise
            done.set_result(result)

        self._jobs.put(run)
        return done

    @property
    def waiting(self) -> bool:
        """Whether a submitted job has not started yet."""
        return not self._jobs.empty()

    def stop(self, timeout: float) -> None:
        """Run the submitted jobs, then end the thread; wait up to ``timeout`` seconds."""
        self._jobs.put(None)
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._beat()
            due = self._due()
            try:
                try:
                    job = self._jobs.get(timeout=1.0 if due is None else max(0.0, min(1.0, due)))
                except queue.Empty:
                    if due is not None and (left := self._due()) is not None and left <= 0:
                        self._on_due()
                    continue
                if job is None:
                    return
                job()
            except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
                self._on_failure(error)
