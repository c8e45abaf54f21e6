"""Lag in seconds: the age of the oldest record that a group has not processed, and the method of its estimate. Pure.

The preferred source is the record's own timestamp. If the record was not read, its arrival is interpolated between two
points of the end offset history: the last before the record and the first after it (as in kafka-lag-exporter's lookup
table). A record older than the history is extrapolated along the line from the oldest to the newest point. Without
traffic in that time there is no line, and the age is unknown: None, never 0.

A record's timestamp comes from its producer, whose clock may be wrong by hours. The end offset history bounds the
arrival of the record. A timestamp more than ``SKEW_SECONDS`` outside these bounds is rejected in favour of the arrival,
with the method ``BOUNDED``. (A transactional record arrives before read-committed consumers see it; the tolerance
allows for that.) A record older than the history has no lower bound, so a too early timestamp cannot be detected.
"""

from enum import IntEnum
from typing import NamedTuple

from surgetank.lag.end_offset_history import EndOffsetHistory

SKEW_SECONDS = 10.0


class LagMethod(IntEnum):
    """The method of a lag in seconds. The numbers are those of the metrics."""

    NO_LAG = 0
    RECORD = 1
    INTERPOLATED = 2
    EXTRAPOLATED = 3
    BOUNDED = 4


class LagSeconds(NamedTuple):
    """A lag in seconds and its method."""

    seconds: float
    how: LagMethod


def lag_seconds(
    now: float, processed: int, end: int, history: EndOffsetHistory, record_at: float | None = None
) -> LagSeconds | None:
    """Return the age of the record at offset ``processed``, the first unprocessed one; None if unknown.

    ``record_at`` is the record's timestamp in seconds on the clock of ``now``, if the record was read.
    """
    if processed >= end:
        return LagSeconds(0.0, LagMethod.NO_LAG)
    arrived = arrival(processed, history)
    if record_at is not None:
        before, after = history.bracket(processed)
        earliest = before[0] - SKEW_SECONDS if before else record_at
        latest = (after[0] if after else now) + SKEW_SECONDS
        if earliest <= record_at <= latest:
            return LagSeconds(max(0.0, now - record_at), LagMethod.RECORD)
        at = arrived[0] if arrived is not None and arrived[1] is LagMethod.INTERPOLATED else after[0] if after else now
        return LagSeconds(max(0.0, now - at), LagMethod.BOUNDED)
    return LagSeconds(max(0.0, now - arrived[0]), arrived[1]) if arrived is not None else None


def arrival(offset: int, history: EndOffsetHistory) -> tuple[float, LagMethod] | None:
    """Return the arrival of the record at ``offset`` from the history alone, and the method; None if unknown."""
    before, after = history.bracket(offset)
    if after is None:
        return None
    if before is not None:
        share = (offset - before[1]) / (after[1] - before[1])
        return before[0] + share * (after[0] - before[0]), LagMethod.INTERPOLATED
    slope = history.slope()
    return (after[0] - (after[1] - offset) / slope, LagMethod.EXTRAPOLATED) if slope > 0 else None
