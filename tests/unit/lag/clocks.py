"""A clock that a test sets."""


class SetClock:
    """A wall clock and a monotonic clock that advance together; a test may set ``wall`` alone, as NTP does."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.wall = 1_700_000_000.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self.wall + self.at

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back."""
        return self.at

    def ms(self, ago: float) -> int:
        """Return the timestamp of a record ``ago`` seconds old, in milliseconds since the epoch."""
        return round((self.now() - ago) * 1000)
