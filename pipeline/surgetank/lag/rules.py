"""The status of a group on a partition by Burrow's rules over a window of observations; the first match wins. Pure.

Source: the evaluator of LinkedIn's Burrow (core/internal/evaluator/caching.go and its wiki, "Consumer Lag Evaluation
Rules"): no threshold on the lag, only the course of offsets and lag over a window of ten observations.

1. REWIND  the committed offset or the log end decreased and has not reached its earlier value again.
2. OK      there is no lag now.
3. STOP    no progress for ``stall_seconds``, and the group has no member. If membership is unknown: no progress for as
           long as ten typical waits (Burrow: now - last > last - first), and for three times ``stall_seconds``.
4. STALL   no progress for ``stall_seconds`` while there was lag.
5. WARN    progress, but over ten observations the lag was never 0, never decreased, and grew.
6. OK      otherwise.

``stall_seconds`` = 3 typical waits of this group, at least 30 s, at most 600 s (``LagWindow``). Differences from
Burrow, with reasons:

- Burrow reads each commit from the offsets topic; this module polls offsets, so a commit of the same offset is
  invisible. STOP and STALL therefore differ by whether the group has a member, not by whether it commits.
- Idle time starts when there is lag: a partition without traffic for days neither stops nor stalls.
- Rule 1 comes first: a recreated topic may have no lag, and operators need to know that it was recreated. REWIND lasts
  for ``stall_seconds``, at least 60 s, as in Burrow while the rewind is in the window.
- WARN requires growth: a constant lag is a group that keeps up at a constant delay.
"""

from collections.abc import Iterable
from enum import IntEnum
from itertools import pairwise

from surgetank.lag.end_offset_history import OBSERVATIONS, LagWindow

REWIND_SECONDS = 60.0
STOP_FACTOR = 3


class LagStatus(IntEnum):
    """The status of a group on a partition; higher is worse. The numbers are those of the metrics."""

    OK = 0
    WARN = 1
    STALL = 2
    STOP = 3
    REWIND = 4


def rule_1_rewind(window: LagWindow, now: float) -> bool:
    """Return whether offsets decreased recently and the earlier committed offset is not reached again."""
    at = window.rewound_at
    return at is not None and now - at <= max(window.stall_seconds, REWIND_SECONDS)


def rule_2_no_lag(window: LagWindow) -> bool:
    """Return whether there is no lag."""
    return window.last.lag == 0


def rule_3_stop(window: LagWindow, now: float, members: bool | None) -> bool:
    """Return whether there is no progress and no member; ``members`` is None if unknown."""
    idle_seconds = window.idle_seconds(now)
    if members is None:
        return idle_seconds > max(STOP_FACTOR * window.stall_seconds, (OBSERVATIONS - 1) * window.typical_wait)
    return not members and idle_seconds >= window.stall_seconds


def rule_4_stall(window: LagWindow, now: float) -> bool:
    """Return whether there is lag without progress."""
    return window.idle_seconds(now) >= window.stall_seconds


def rule_5_warn(window: LagWindow) -> bool:
    """Return whether the lag grows and never decreased."""
    lags = [observation.lag for observation in window.observations]
    return (
        len(lags) >= OBSERVATIONS
        and min(lags) > 0
        and lags[-1] > lags[0]
        and all(later >= earlier for earlier, later in pairwise(lags))
    )


def status(window: LagWindow, now: float, members: bool | None = None) -> LagStatus:
    """Return the status of the first rule that matches; OK without observations."""
    if not window.observations:
        return LagStatus.OK
    if rule_1_rewind(window, now):
        return LagStatus.REWIND
    if rule_2_no_lag(window):
        return LagStatus.OK
    if rule_3_stop(window, now, members):
        return LagStatus.STOP
    if rule_4_stall(window, now):
        return LagStatus.STALL
    return LagStatus.WARN if rule_5_warn(window) else LagStatus.OK


def worst(statuses: Iterable[LagStatus]) -> LagStatus:
    """Return the status of a group: the status of its worst partition."""
    return max(statuses, default=LagStatus.OK)
