"""Is it bad? Burrow's rules over a window of observations, numbered, first that holds wins. Pure.

Source: the evaluator of LinkedIn's Burrow (core/internal/evaluator/caching.go and its wiki, "Consumer Lag Evaluation
Rules"): no threshold on the lag, only what offsets and lag did over a window of ten.

1. REWIND  the committed offset, or the log's end, went back and has not regained what it had.
2. OK      there is no lag now.
3. STOP    nothing was done for ``span`` seconds, and nobody is there to do it. Where it is not known whether anybody
           is there: nothing for as long as a window of ten usual waits (Burrow: now - last > last - first), and for
           three spans.
4. STALL   nothing was done for ``span`` seconds, with lag all the while.
5. WARN    something is done, but over ten observations the lag was never 0, never fell, and grew.
6. OK      else.

``span`` = 3 usual waits of this group, at least 30 s, at most 600 s (``history.Window``). What differs from Burrow, and
why:

- Burrow reads each commit from the log of offsets; here offsets are asked for, so a commit of the same offset is not
  seen. So STOP and STALL are told apart by whether the group has a member, not by whether it commits.
- Waiting counts from when there was something to do: a partition without traffic for days neither stops nor stalls.
- Rule 1 comes first: of a topic that was made anew all may be done, and operators want to know that it was. It holds
  for one span, 60 s at least, as Burrow's does while it is in the window.
- WARN wants growth: a lag that stays the same is a group that keeps up at a constant delay.
"""

from collections.abc import Iterable
from enum import IntEnum
from itertools import pairwise

from pipeline.lag.end_offset_history import OBSERVATIONS, LagWindow

REWIND_SECONDS = 60.0
STOP_SPANS = 3


class LagStatus(IntEnum):
    """How a group does on a partition; the higher the worse. The numbers are those of the metrics."""

    OK = 0
    WARN = 1
    STALL = 2
    STOP = 3
    REWIND = 4


def rule_1_rewind(window: LagWindow, now: float) -> bool:
    """Offsets went back of late, and what was committed before is not regained."""
    at = window.went_back_at
    return at is not None and now - at <= max(window.span, REWIND_SECONDS)


def rule_2_no_lag(window: LagWindow) -> bool:
    """Everything is done."""
    return window.last.lag == 0


def rule_3_stop(window: LagWindow, now: float, members: bool | None) -> bool:
    """Nothing is done and nobody is there; ``members`` is None where that is not known."""
    silence = window.silence(now)
    if members is None:
        return silence > max(STOP_SPANS * window.span, (OBSERVATIONS - 1) * window.usual_wait)
    return not members and silence >= window.span


def rule_4_stall(window: LagWindow, now: float) -> bool:
    """There is something to do, and nothing is done."""
    return window.silence(now) >= window.span


def rule_5_warn(window: LagWindow) -> bool:
    """The lag grows without ever falling."""
    lags = [seen.lag for seen in window.observations]
    return (
        len(lags) >= OBSERVATIONS
        and min(lags) > 0
        and lags[-1] > lags[0]
        and all(later >= earlier for earlier, later in pairwise(lags))
    )


def status(window: LagWindow, now: float, members: bool | None = None) -> LagStatus:
    """Return the verdict of the first rule that holds. What was never observed is OK: nothing speaks against it."""
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
    """Return the status of a group: that of its worst partition."""
    return max(statuses, default=LagStatus.OK)
