"""Polls the fetcher from two threads in turn: the computing thread when it needs records, and one in the background.

At low load the computing thread reads all records of a batch at once, when it takes the batch; a background read of
each few records that arrive would compete with the computation. The background thread reads on without a pause while
its reads are full, that is, while the worker lags. Otherwise it polls only so often that a change of the assignment
does not wait for the end of a long computation.
"""

import threading
from collections.abc import Callable

from surgetank.runtime.fetcher import READ_ROWS_MAX, Fetcher
from surgetank.runtime.record_queues import RecordQueues

PAUSE_SECONDS = 0.02


class FetchThread:
    """Fills the record queues in the background. ``on_failure`` is called with an exception that ends the thread."""

    def __init__(
        self,
        fetcher: Fetcher,
        records: RecordQueues,
        *,
        beat: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._fetcher = fetcher
        self._records = records
        self._beat = beat
        self._on_failure = on_failure
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def poll(self, timeout: float) -> int:
        """Read the available records; wait up to ``timeout`` seconds for the first. Return how many were read."""
        with self._turn:
            return 0 if self._stopping.is_set() else self._fetcher.poll(timeout)

    def stop(self, timeout: float) -> None:
        """Stop the thread and close the consumer. Waits up to ``timeout`` seconds."""
        self._stopping.set()
        if self._thread.ident is not None:  # otherwise it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._beat()
                if self.poll(0) < READ_ROWS_MAX:
                    self._stopping.wait(PAUSE_SECONDS)
                else:
                    self._records.wait_for_room(PAUSE_SECONDS)
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
            self._on_failure(error)
        finally:
            self._stopping.set()  # nobody may poll the closed consumer, also after a failure
            with self._turn:
                self._fetcher.stop()
