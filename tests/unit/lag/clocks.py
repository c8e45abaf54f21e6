"""A clock that a test sets."""


class SetClock:
    """Both times move together; ``jump`` moves the wall clock alone, as an operator or NTP does."""

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
        """Return a record's time so many seconds ago, in milliseconds since the epoch."""
        return round((self.now() - ago) * 1000)
