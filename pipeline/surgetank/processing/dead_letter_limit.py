"""Detects a high share of dead letters, so that a faulty deployment stops before it dead-letters the whole topic."""

from collections import deque
from dataclasses import dataclass

_BUCKETS = 60


@dataclass(slots=True)
class _Bucket:
    number: int
    events: int = 0
    dead: int = 0


class DeadLetterLimit:
    """Counts events and dead letters in a sliding window.

    It trips when, of at least ``minimum_events`` (1 or more) events in the last ``window_seconds`` (above 0), a share
    of more than ``share_max`` (0 to 1) became dead letters. The window has 60 buckets, which expire as a whole.
    Times are seconds on a monotonic clock; a time before the last one is counted in the newest bucket.
    """

    def __init__(self, share_max: float, window_seconds: float, minimum_events: int) -> None:
        self._share_max = share_max
        self._window_seconds = window_seconds
        self._minimum_events = minimum_events
        self._buckets: deque[_Bucket] = deque()
        self._events = 0
        self._dead = 0

    def observe(self, now: float, events: int, dead: int) -> None:
        """Count a batch of ``events`` events with ``dead`` dead letters; ``now`` is in seconds."""
        self._forget(now)
        number = self._number(now)
        if not self._buckets or self._buckets[-1].number < number:
            self._buckets.append(_Bucket(number))
        self._buckets[-1].events += events
        self._buckets[-1].dead += dead
        self._events += events
        self._dead += dead

    def tripped(self, now: float) -> str | None:
        """Return an error message if the share of dead letters exceeds its bound, else None."""
        self._forget(now)
        if self._events < self._minimum_events or self._dead <= self._share_max * self._events:
            return None
        return (
            f"{self._dead} of the last {self._events} events ({self._dead / self._events:.1%}) were "
            f"dead-lettered within {self._window_seconds:g} s; at most {self._share_max:.1%} may be. Count "
            "them by reason with `surgetank dead-letters stats`, remove the cause, start again, then send their events "
            "again with `surgetank dead-letters replay`"
        )

    def _number(self, now: float) -> int:
        return int(now // (self._window_seconds / _BUCKETS))

    def _forget(self, now: float) -> None:
        while self._buckets and self._buckets[0].number <= self._number(now) - _BUCKETS:
            old = self._buckets.popleft()
            self._events -= old.events
            self._dead -= old.dead
