"""The intended send time of each event in seconds from the start. Pure arithmetic.

A rate counts all sent events of all kinds. A spike multiplies it for a while. A speed replays the recording with its
own time intervals divided by a factor.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]

# Returns the send times of events start to stop - 1: float64 [stop - start], seconds from the start.
Pace = Callable[[int, int], Seconds]

_NUMBER = r"\d+(?:\.\d+)?"
_SPIKE = re.compile(rf"({_NUMBER})x@({_NUMBER})s\+({_NUMBER})s")
_SPEED = re.compile(rf"({_NUMBER})x?")


@dataclass(frozen=True, slots=True)
class Spike:
    """A multiplication of the rate by ``factor``, from ``start`` seconds on, for ``length`` seconds."""

    factor: float
    start: float
    length: float

    @property
    def end(self) -> float:
        """The end of the spike in seconds from the start."""
        return self.start + self.length

    def __str__(self) -> str:
        return f"{self.factor:g}x@{self.start:g}s+{self.length:g}s"


def parse_spike(text: str) -> Spike:
    """Parse a spike such as ``10x@20s+15s``: ten times the rate, from second 20 on, for 15 seconds.

    Raises ValueError for other formats.
    """
    match = _SPIKE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"spike {text!r}: write FACTORx@STARTs+LENGTHs, as in 10x@20s+15s")
    spike = Spike(*(float(part) for part in match.groups()))
    if spike.factor <= 0 or spike.length <= 0:
        raise ValueError(f"spike {text!r}: factor and length must be more than 0")
    return spike


def parse_speed(text: str) -> float:
    """Parse a speed such as ``600x``: ten minutes of the recording per second. Raises ValueError."""
    match = _SPEED.fullmatch(text.strip())
    speed = float(match.group(1)) if match else 0.0
    if speed <= 0:
        raise ValueError(f"speed {text!r}: write a number more than 0, as in 600x")
    return speed


def intended(count: int, rate: float, spikes: Sequence[Spike] = (), *, start: int = 0) -> Seconds:
    """Return the send times of ``count`` events from number ``start`` on: float64 [count], seconds from the start.

    Event 0 is due at 0, and the times never decrease. Raises ValueError unless the rate is positive and spikes do not
    overlap.
    """
    seconds, events = _segment_starts(rate, spikes)
    number = np.arange(start, start + count, dtype=np.float64)
    # An event at a boundary belongs to the segment before it, so that the first event is due at 0 in any case.
    segment = np.maximum(np.searchsorted(events, number, side="left") - 1, 0)
    slope = rate * np.array(_factors(spikes))
    due: Seconds = seconds[segment] + (number - events[segment]) / slope[segment]
    # Rounding at a boundary could put an event slightly after the next one.
    return np.maximum.accumulate(due) if count else due


def at_rate(rate: float, spikes: Sequence[Spike] = ()) -> Pace:
    """Return the pace of a rate with spikes. Raises ValueError as ``intended`` does."""
    intended(0, rate, spikes)
    return lambda start, stop: intended(stop - start, rate, spikes, start=start)


def at_speed(speed: float, times: Callable[[int, int], npt.NDArray[np.int64]]) -> Pace:
    """Return the pace of the recording itself, ``speed`` times as fast.

    ``times(start, stop)`` returns the event times, int64 [stop - start] in milliseconds since the epoch.
    Raises ValueError if the speed is not positive.
    """
    if not (speed > 0 and math.isfinite(speed)):
        raise ValueError(f"speed {speed}: it must be more than 0")
    begin = int(times(0, 1)[0])
    return lambda start, stop: (times(start, stop) - begin) / (1000.0 * speed)


def _ordered(spikes: Sequence[Spike]) -> list[Spike]:
    ordered = sorted(spikes, key=lambda spike: spike.start)
    for one, other in pairwise(ordered):
        if other.start < one.end:
            raise ValueError(f"spikes {one} and {other} overlap; end the first before the second starts")
    return ordered


def _factors(spikes: Sequence[Spike]) -> list[float]:
    """Return the factor of each segment of time: before, during, between and after the spikes."""
    return [1.0, *(factor for spike in _ordered(spikes) for factor in (spike.factor, 1.0))]


def _segment_starts(rate: float, spikes: Sequence[Spike]) -> tuple[Seconds, Seconds]:
    """Return the start of each segment: in seconds, and in events due until then."""
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"rate {rate}: it must be more than 0 events a second")
    seconds = np.array([0.0, *(second for spike in _ordered(spikes) for second in (spike.start, spike.end))])
    events = np.concatenate(([0.0], np.cumsum(np.diff(seconds) * rate * np.array(_factors(spikes)[:-1]))))
    return seconds, events
