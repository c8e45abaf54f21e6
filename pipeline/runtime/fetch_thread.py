"""Polls the fetcher in a thread of its own, so that records arrive while a batch is computed.

After each read the thread pauses, unless the computing thread waits for records. Brokers answer a fetch as soon as one
record is there, so without the pause there would be up to a thousand reads per second, of a few records each.
"""

import threading
from collections.abc import Callable

from pipeline.runtime.fetcher import Fetcher
from pipeline.runtime.record_queues import RecordQueues

POLL_SECONDS = 0.02  # how long a change of assignment may wait for the end of an idle poll
PAUSE_SECONDS = 0.004


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
        self._arrived = threading.Condition()
        self._arrivals = self._seen = 0
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def poll(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for records that arrived after the last call; return whether there are any.

        Call it in one thread.
        """
        with self._arrived:
            if timeout and self._arrivals == self._seen:
                self._wanted.set()
            arrived = self._arrived.wait_for(lambda: self._arrivals != self._seen, timeout)
            self._seen = self._arrivals
        return arrived

    def stop(self, timeout: float) -> None:
        """Stop the thread and close the consumer. Waits up to ``timeout`` seconds."""
        self._stopping.set()
        self._wanted.set()
        if self._thread.ident is not None:  # otherwise it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._beat()
                if self._fetcher.poll(POLL_SECONDS):
                    with self._arrived:
                        self._arrivals += 1
                        self._arrived.notify_all()
                        self._wanted.clear()
                    self._wanted.wait(PAUSE_SECONDS)
                else:
                    self._records.wait_for_room(POLL_SECONDS)  # returns at once unless the queues are full
        except BaseException as error:  # noqa: BLE001 - a thread must not end without a report
            self._on_failure(error)
        finally:
            self._fetcher.stop()
