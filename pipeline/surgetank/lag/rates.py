"""Arrival rate, processing rate and time to drain of a group on a partition. Pure."""

import math
from itertools import pairwise
from typing import NamedTuple

from surgetank.lag.end_offset_history import LagWindow, Observation

RATE_SECONDS = 10.0
MOVEMENTS = 4


class ConsumerRates(NamedTuple):
    """Records per second, and seconds. None: unknown.

    ``drain`` is lag / (processing - arrival): 0 without lag, infinite if processing is not faster than arrival.
    ``processing`` is the observed rate, not the capacity: for a group without lag it equals the arrival rate.
    """

    arrival: float | None
    processing: float | None
    drain: float | None


UNKNOWN = ConsumerRates(None, None, None)


def rates(window: LagWindow) -> ConsumerRates:
    """Return the rates over the last ten seconds, or over the last four movements of the group if these take longer.

    One observation gives no rate, and neither do observations across a rewind. Without rates the drain time is unknown.
    """
    if not window.observations:
        return UNKNOWN
    recent = _recent(window.observations, max(RATE_SECONDS, MOVEMENTS * window.typical_wait))
    first, last = recent[0], recent[-1]
    seconds = last.at - first.at
    arrival = (last.end - first.end) / seconds if seconds > 0 and last.end >= first.end else None
    rises = all(later.processed >= earlier.processed for earlier, later in pairwise(recent))
    processing = (last.processed - first.processed) / seconds if seconds > 0 and rises else None
    return ConsumerRates(arrival, processing, drain(last.lag, arrival, processing))


def drain(lag: int, arrival: float | None, processing: float | None) -> float | None:
    """Return the seconds until the lag is 0 at these rates: infinite if it does not shrink, None if unknown."""
    if lag == 0:
        return 0.0
    if arrival is None or processing is None:
        return None
    return lag / (processing - arrival) if processing > arrival else math.inf


def _recent(observations: list[Observation], seconds: float) -> list[Observation]:
    """Return the newest observations that cover ``seconds``; all if they cover less."""
    oldest_needed = observations[-1].at - seconds
    indices = range(len(observations) - 1, 0, -1)
    first = next((index for index in indices if observations[index].at <= oldest_needed), 0)
    return observations[first:]
