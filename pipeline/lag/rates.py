"""How fast records come, how fast they are done, and when the lag will be gone. Pure."""

import math
from itertools import pairwise
from typing import NamedTuple

from pipeline.lag.end_offset_history import LagWindow, Observation

RATE_SECONDS = 10.0
MOVEMENTS = 4


class ConsumerRates(NamedTuple):
    """Records a second, and seconds. None: not known.

    ``drain`` is lag / (processing - arrival): 0 without lag, infinite while processing is no faster than arrival.
    ``processing`` is what was done, not what could be done: of a group that keeps up it is the arrival rate.
    """

    arrival: float | None
    processing: float | None
    drain: float | None


UNKNOWN = ConsumerRates(None, None, None)


def rates(window: LagWindow) -> ConsumerRates:
    """Return the rates of the last ten seconds, or of the last four movements of the group where those take longer.

    A rate is not known from one observation, nor across offsets that went back; without rates a lag has no drain time.
    """
    if not window.observations:
        return UNKNOWN
    seen = _recent(window.observations, max(RATE_SECONDS, MOVEMENTS * window.usual_wait))
    first, last = seen[0], seen[-1]
    seconds = last.at - first.at
    arrival = (last.end - first.end) / seconds if seconds > 0 and last.end >= first.end else None
    rises = all(later.done >= earlier.done for earlier, later in pairwise(seen))
    processing = (last.done - first.done) / seconds if seconds > 0 and rises else None
    return ConsumerRates(arrival, processing, drain(last.lag, arrival, processing))


def drain(lag: int, arrival: float | None, processing: float | None) -> float | None:
    """Return the seconds until the lag is gone at these rates: infinite if it does not shrink, None if unknown."""
    if lag == 0:
        return 0.0
    if arrival is None or processing is None:
        return None
    return lag / (processing - arrival) if processing > arrival else math.inf


def _recent(seen: list[Observation], seconds: float) -> list[Observation]:
    """Return the observations that span so many seconds, from the newest back; all if they span less."""
    oldest_needed = seen[-1].at - seconds
    first = next((number for number in range(len(seen) - 1, 0, -1) if seen[number].at <= oldest_needed), 0)
    return seen[first:]
