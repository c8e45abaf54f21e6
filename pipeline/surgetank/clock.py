"""The only module that reads the system clock; other code receives a Clock or a time."""

import time
from typing import Protocol


class Clock(Protocol):
    """A clock. Tests pass their own."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes backwards."""
        ...


class SystemClock:
    """The clock of the operating system."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes backwards."""
        return time.monotonic()
