"""Writes alerts to the timeline, each once: Alertmanager repeats what goes on and what it had no good answer to."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import NamedTuple, Protocol

from surgetank.kafka.confirmed import NotWritten
from surgetank.timeline.alerts import AlertNotification, Key, KnownAlerts
from surgetank.timeline.events import WHAT_MAX, EventKind, TimelineEvent

EVENT_BYTES_MAX = 65_536  # less than any sensible max.message.bytes
ANNOTATION_CHARACTERS = 1000  # of each annotation are kept where the event is longer than that

log = logging.getLogger(__name__)


class Sender(Protocol):
    """What sends records; in a process it is ``ConfirmedProducer``."""

    def send(self, topic: str, value: bytes, at_ms: int) -> "Future[int | None]":
        """Send a record; the future ends with NotWritten if it is not written."""
        ...


class Result(NamedTuple):
    """How many alerts of a notification were new and are written, are refused for good, and are not written yet."""

    written: int
    refused: int
    waiting: int


class AlertWriter:
    """Remembers which alerts are written and which are on their way. For any thread."""

    def __init__(self, sender: Sender, topic: str) -> None:
        self._sender = sender
        self._topic = topic
        self._lock = threading.RLock()  # a future that has ended already calls back at once
        self._known = KnownAlerts()
        self._under_way: dict[Key, Future[int | None]] = {}

    def write(self, posted: Sequence[AlertNotification], timeout: float) -> Result:
        """Write the alerts that are new, and wait at most ``timeout`` seconds for those that are under way.

        What is under way after that stays so: posted again, it is waited for and not sent a second time.
        """
        futures: dict[Key, Future[int | None]] = {}
        refused = 0
        with self._lock:
            for alert in posted:
                if alert in self._known:
                    continue
                if alert.key not in self._under_way:
                    value = event_value(alert)
                    if value is None:
                        refused += 1
                        log.warning("an alert is too large for the timeline: %s", alert.what[:200])
                        continue
                    self._under_way[alert.key] = future = self._sender.send(self._topic, value, alert.at_ms)
                    futures[alert.key] = future
                    future.add_done_callback(partial(self._ended, alert))
                else:
                    futures[alert.key] = self._under_way[alert.key]
        ended, waiting = wait(futures.values(), timeout)
        errors = [error for future in ended if (error := future.exception()) is not None]
        for_good = sum(isinstance(error, NotWritten) and error.for_good for error in errors)
        return Result(len(ended) - len(errors), refused + for_good, len(waiting) + len(errors) - for_good)

    def _ended(self, alert: AlertNotification, future: "Future[int | None]") -> None:
        with self._lock:
            self._under_way.pop(alert.key, None)
            if (error := future.exception()) is None:
                self._known.add(alert)
        if error is None:
            log.info("%s", alert.what[:WHAT_MAX])
        else:
            log.warning("an alert is not on the timeline: %s: %s", alert.what[:200], error)


def event_value(alert: AlertNotification) -> bytes | None:
    """Return the record of an alert, its annotations cut if it would be too large; None if it still is. Pure."""
    value = TimelineEvent(alert.at_ms, EventKind.ALERT, "alertmanager", alert.what, alert.details).encode()
    if len(value) <= EVENT_BYTES_MAX:
        return value
    cut = {name: str(text)[:ANNOTATION_CHARACTERS] for name, text in alert.details["annotations"].items()}
    details = {**alert.details, "annotations": cut, "annotations_cut": True}
    value = TimelineEvent(alert.at_ms, EventKind.ALERT, "alertmanager", alert.what, details).encode()
    return value if len(value) <= EVENT_BYTES_MAX else None
