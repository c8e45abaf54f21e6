"""From single looks to an anomaly that begins and ends: one that comes and goes within a minute is one. Pure."""

from dataclasses import dataclass

from pipeline.anomalies.level import Band

CALM_SECONDS = 60.0  # an anomaly ends when its value was usual for so long
SETTLED_SECONDS = 1800.0  # or when it has lasted so long: then that is what is usual now


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a signal gave: its value, where it would be usual, and both in words."""

    signal: str
    value: float
    band: Band
    words: str

    @property
    def score(self) -> float:
        """How unusual the value is: above 1 is an anomaly."""
        return self.band.score(self.value)


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """An anomaly that begins or ends, and why. ``settled``: it ends because it became usual."""

    signal: str
    begins: bool
    score: float
    why: str
    settled: bool = False


class Alarm:
    """Whether one signal is unusual. Times are monotonic seconds.

    While it is, values are judged by what was usual when it began: what goes on must not excuse itself.
    """

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self._band: Band | None = None
        self._began = 0.0
        self._unusual = 0.0  # when it was so for the last time
        self.score = 0.0

    @property
    def active(self) -> bool:
        """Whether there is an anomaly now."""
        return self._band is not None

    def look(self, now: float, finding: Finding | None) -> AlarmChange | None:
        """Take what a look gave, None for nothing that could be judged; return what changed."""
        if finding is not None:
            self.score = (self._band or finding.band).score(finding.value)
        unusual = finding is not None and self.score > 1
        if self._band is None:
            if finding is None or not unusual:
                return None
            self._band, self._began, self._unusual = finding.band, now, now
            return AlarmChange(self._signal, True, self.score, finding.words)
        if unusual:
            self._unusual = now
        if now - self._began >= SETTLED_SECONDS:
            self._band = None
            why = f"it has been so for {SETTLED_SECONDS / 60:.0f} min and is what is usual from now on"
            return AlarmChange(self._signal, False, self.score, why, settled=True)
        if finding is not None and now - self._unusual >= CALM_SECONDS:
            self._band = None
            return AlarmChange(self._signal, False, self.score, f"back to what is usual: {finding.words}")
        return None
