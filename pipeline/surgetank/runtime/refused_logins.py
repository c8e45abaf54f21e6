"""Refusals of a running worker's connections: a wrong password, a certificate that is not accepted.

A client whose connections are refused behaves as if no broker were there: requests time out, and the client stays a
member of its group. Only the errors of the client say why, and librdkafka repeats one only twice a minute.
"""

import logging
import threading

from confluent_kafka import KafkaError

from surgetank.clock import Clock
from surgetank.kafka.connection_errors import connection_failure

KEPT_SECONDS = 45.0  # beyond the 30 s for which librdkafka does not repeat an error
_CODES = {KafkaError._AUTHENTICATION, KafkaError._SSL}

log = logging.getLogger(__name__)


class RefusedLogins:
    """Keeps the last refusal of the connections to the brokers. For any thread."""

    def __init__(self, bootstrap: str, clock: Clock) -> None:
        self._bootstrap = bootstrap
        self._clock = clock
        self._lock = threading.Lock()
        self._why: str | None = None
        self._at = 0.0

    def met(self, error: KafkaError) -> None:
        """Take an error of a client; keep it, and warn once, if it is a refusal."""
        if error.code() not in _CODES:
            return
        with self._lock:
            first, self._at = self._why is None, self._clock.monotonic()
            self._why = connection_failure(self._bootstrap, error, [error])
            why = self._why
        if first:
            log.warning("%s; this worker waits until they take its connections", why)

    def current(self, *, answered: bool) -> str | None:
        """Return why the connections are refused, None if they are not. ``answered``: brokers have just answered."""
        with self._lock:
            if self._why is not None and (answered or self._clock.monotonic() - self._at > KEPT_SECONDS):
                self._why = None
            return self._why
