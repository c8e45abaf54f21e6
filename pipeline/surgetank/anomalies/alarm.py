"""Turns single evaluations of a signal into anomalies with a start and an end. Pure."""

from dataclasses import dataclass

from surgetank.anomalies.baseline import Band

RECOVERY_SECONDS = 60.0  # an anomaly ends after the value has been normal for this long
REBASELINE_SECONDS = 1800.0  # an anomaly that lasts this long ends too: its level becomes the new baseline


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one evaluation of a signal: the value, its normal band and a description of both."""

    signal: str
    value: float
    band: Band
    description: str

    @property
    def score(self) -> float:
        """Return the deviation of the value: above 1 is an anomaly."""
        return self.band.score(self.value)


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """The start or the end of an anomaly. ``rebaselined``: it ends because its level becomes the baseline."""

    signal: str
    begins: bool
    score: float
    why: str
    rebaselined: bool = False


class Alarm:
    """Tracks whether one signal is anomalous. Times are monotonic seconds.

    During an anomaly, values are scored against the band at its start, so that the anomaly does not shift its own band.
    """

    def __init__(self, signal: str) -> None:
        self._signal = signal
        self._band: Band | None = None
        self._started_at = 0.0
        self._unusual_at = 0.0  # time of the latest score above 1
        self.score = 0.0

    @property
    def active(self) -> bool:
        """Return whether an anomaly is in progress."""
        return self._band is not None

    def evaluate(self, now: float, finding: Finding | None) -> AlarmChange | None:
        """Process one finding, None if the signal could not be evaluated; return the start or end of an anomaly."""
        if finding is not None:
            self.score = (self._band or finding.band).score(finding.value)
        unusual = finding is not None and self.score > 1
        if self._band is None:
            if finding is None or not unusual:
                return None
            self._band, self._started_at, self._unusual_at = finding.band, now, now
            return AlarmChange(self._signal, True, self.score, finding.description)
        if unusual:
            self._unusual_at = now
        if now - self._started_at >= REBASELINE_SECONDS:
            self._band = None
            why = f"the new level has lasted {REBASELINE_SECONDS / 60:.0f} min and becomes the baseline"
            return AlarmChange(self._signal, False, self.score, why, rebaselined=True)
        if finding is not None and now - self._unusual_at >= RECOVERY_SECONDS:
            self._band = None
            return AlarmChange(self._signal, False, self.score, f"back in the normal range: {finding.description}")
        return None
