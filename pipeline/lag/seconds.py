"""Lag in seconds: the age of the oldest record that a group has not done, and how that is known. Pure.

Best is the record's own time. Where nobody read the record, its arrival is interpolated between two looks at the log's
end: at one the record was not there yet, at the next it was (the look-up table of kafka-lag-exporter). A record that is
older than the first look is extrapolated on the line from the oldest to the newest. If nothing came in all that time,
no line says anything, and the age is unknown: that is None, never 0.

A record's time is what its producer said, and the producer's clock may be wrong by hours. The looks at the log's end
say between which two moments the record came; a time that is further outside than ``SKEW_SECONDS`` cannot be, and the
arrival takes its place. The result says so: ``BOUNDED``. (A record of a transaction was there before readers of
committed records were told so; the tolerance has room for that.) A record that was there before the first look has no
earlier bound: that its time is too early cannot be known then.
"""

from enum import IntEnum
from typing import NamedTuple

from pipeline.lag.end_offset_history import EndOffsetHistory

SKEW_SECONDS = 10.0


class LagMethod(IntEnum):
    """How a lag in seconds is known. The numbers are those of the metrics."""

    NO_LAG = 0
    RECORD = 1
    INTERPOLATED = 2
    EXTRAPOLATED = 3
    BOUNDED = 4


class LagSeconds(NamedTuple):
    """How many seconds behind, and how that is known."""

    seconds: float
    how: LagMethod


def lag_seconds(
    now: float, done: int, end: int, trail: EndOffsetHistory, record_at: float | None = None
) -> LagSeconds | None:
    """Return the age of the record at ``done``, the first that is not done; None if it cannot be known.

    ``record_at`` is that record's own time, if somebody read it, on the same clock as ``now``.
    """
    if done >= end:
        return LagSeconds(0.0, LagMethod.NO_LAG)
    arrived = arrival(done, trail)
    if record_at is not None:
        before, after = trail.around(done)
        earliest = before[0] - SKEW_SECONDS if before else record_at
        latest = (after[0] if after else now) + SKEW_SECONDS
        if earliest <= record_at <= latest:
            return LagSeconds(max(0.0, now - record_at), LagMethod.RECORD)
        at = arrived[0] if arrived is not None and arrived[1] is LagMethod.INTERPOLATED else after[0] if after else now
        return LagSeconds(max(0.0, now - at), LagMethod.BOUNDED)
    return LagSeconds(max(0.0, now - arrived[0]), arrived[1]) if arrived is not None else None


def arrival(offset: int, trail: EndOffsetHistory) -> tuple[float, LagMethod] | None:
    """Return when the record of an offset came, by the trail alone; None if that says nothing."""
    before, after = trail.around(offset)
    if after is None:
        return None
    if before is not None:
        share = (offset - before[1]) / (after[1] - before[1])
        return before[0] + share * (after[0] - before[0]), LagMethod.INTERPOLATED
    slope = trail.slope()
    return (after[0] - (after[1] - offset) / slope, LagMethod.EXTRAPOLATED) if slope > 0 else None
