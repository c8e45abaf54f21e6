"""Ends the process of a worker: logs the error, reports it to the timeline, exits with the code of the error."""

import logging
import os
import sys
import threading
from collections.abc import Callable

from surgetank.errors import SurgetankError
from surgetank.timeline.timeline_reporter import TimelineReporter

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5.0


class ProcessExit:
    """Ends the process on the first error. For any thread."""

    def __init__(self, timeline: TimelineReporter) -> None:
        self._timeline = timeline
        self._ending = threading.Lock()
        self._shutdown: Callable[[], None] = _nothing

    def before(self, shutdown: Callable[[], None]) -> None:
        """Call ``shutdown`` before the process ends after an error; it has ``SHUTDOWN_SECONDS``."""
        self._shutdown = shutdown

    def fail(self, error: BaseException) -> None:
        """Log the error in one line and end the process with its exit code. Later calls do nothing."""
        if not self._ending.acquire(blocking=False):
            return
        if isinstance(error, SurgetankError):
            log.error("%s", error)
            code = error.exit_code
        else:
            log.error("the worker ends: %r", error, exc_info=error)
            code = 1
        self._timeline.failed(code, str(error) or repr(error))
        shutdown = threading.Thread(target=self._shutdown, name="shutdown", daemon=True)
        shutdown.start()
        # The shutdown may need the calling thread: wait for it in another thread, with a timeout.
        threading.Thread(target=self._end, args=(shutdown, code), name="end", daemon=True).start()

    def _end(self, shutdown: threading.Thread, code: int) -> None:
        shutdown.join(SHUTDOWN_SECONDS)
        self._timeline.close()
        sys.stderr.flush()
        os._exit(code)


def _nothing() -> None:
    pass
