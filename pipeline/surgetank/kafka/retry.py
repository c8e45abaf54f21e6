"""Repeats a request to Kafka while no broker answers, as after the death of a broker, and waits for conditions."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from surgetank.clock import Clock
from surgetank.errors import BrokerError

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 30.0  # a new controller or coordinator is elected within some seconds
AGAIN_SECONDS = 0.5

Answer = TypeVar("Answer")


def retry_until_available(ask: Callable[[], Answer], clock: Clock, seconds: float = PATIENCE_SECONDS) -> Answer:
    """Return the result of ``ask``; on BrokerError repeat it for this many seconds and log that.

    Raises the last BrokerError after that time, and any other error at once.
    """
    since, pause = clock.monotonic(), threading.Event()
    while True:
        try:
            return ask()
        except BrokerError as error:
            waited = clock.monotonic() - since
            if waited >= seconds:
                raise
            log.warning("Kafka does not answer yet, %.0f s of %.0f: %s", waited, seconds, error)
        pause.wait(AGAIN_SECONDS)


def wait_until(condition: Callable[[], bool], seconds: float, every: float) -> bool:
    """Check a condition each ``every`` seconds, about ``seconds`` long at most; return whether it was met."""
    pause = threading.Event()
    for _ in range(round(seconds / every)):
        if condition():
            return True
        pause.wait(every)
    return False
