"""A mean and a deviation of recent values, for example of the durations of commits. Pure."""


class RecentMean:
    """An exponential mean and mean absolute deviation, as TCP has them for its round trips (RFC 6298).

    ``share`` is the share of a new value. A value counts with at most ``outlier`` times the mean.
    """

    def __init__(self, share: float = 1 / 16, outlier: float = 3.0) -> None:
        self._share = share
        self._outlier = outlier
        self._values = 0
        self.mean = 0.0
        self.deviation = 0.0

    def add(self, value: float) -> None:
        """Take a value, at least 0."""
        self._values += 1
        share = max(self._share, 1 / self._values)
        if self._values > 1:
            value = min(value, self._outlier * self.mean) if self.mean > 0 else value
            self.deviation += share * (abs(value - self.mean) - self.deviation)
        self.mean += share * (value - self.mean)
