"""Chooses the size of the next batch for a latency target. Pure.

The oldest row of a batch arrives just after the batch before was taken. It waits for that batch to be computed, or for
the commit in progress, then its own batch is computed and committed. With a * n + b seconds to compute n rows and c to
commit, its age at the commit is 2 (a n + b + c) at most, which the target bounds: n = ((target / 2 - c) - b) / a.

Three sizes bound that one from below, because a smaller batch would make rows older, not younger:

- *as long as a commit*: (c - b) / a rows. Commits follow one another; batches that are computed faster than that wait
  for the next commit, so smaller ones gain nothing;
- *what keeps up*: the fixed part b is paid more often by smaller batches. At R rows a second n rows must be computed
  before n more have arrived: n = R b / (1 - R a). R lies between the arrival rate r and 1 / a, the most that any size
  can do: close to r, rows would wait in the queue for longer than smaller batches save;
- 1.

A backlog is more waiting rows than the worker can compute within the target: then no size holds the target for the rows
that arrive now, and what counts is the time until the backlog is gone. Batches are as large as pays: at this size the
fixed part is a small share of a batch. Larger ones would only delay the first rows within the target again. A batch
takes as long as the target at least, so that the fixed part is measured with larger batches even if all were small.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from surgetank.serving.batch_cost import CostLine

START_ROWS = 64  # before anything was measured
GROWTH = 2  # a batch has at most this many times the rows of the largest one that was measured
FIXED_SHARE = 0.03  # of the seconds of a batch: at this size a larger batch gains at most 3 % of throughput
SPARE_SHARE = 0.5  # of the capacity that the arrivals leave: so much of it every size keeps
BACKLOG_TARGETS = 1.5  # seconds of waiting work that are a backlog, in latency targets


class Reason(StrEnum):
    """What bounds the size of a batch."""

    COST = "cost"  # the latency target, by the cost of a batch
    SAFETY = "safety"  # the same, less what the safety loop took away
    LOAD = "load"  # a smaller batch would not be younger: it would not keep up, or wait for the commit
    BACKLOG = "backlog"  # the target is out of reach until the backlog is gone: throughput
    CAP = "cap"  # worker.batch_rows_max
    UNKNOWN = "unknown"  # larger batches were not measured yet


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The latency target in seconds; in rows the largest batch (``cap``), the largest call of the model, the buffer.

    More than half a buffer of waiting rows is a backlog in any case, since the buffer does not show the rest.
    """

    target: float
    cap: int
    model_rows_max: int
    buffer_rows: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known about a worker.

    ``line`` is the cost of a batch, None if none was measured, and ``largest`` the largest measured one. ``commit`` is
    the mean duration of a commit and ``slow_commit`` that of a slow one; ``arrivals`` the rows per second. ``safety``
    is the bound of the safety loop in rows.
    """

    line: CostLine | None
    largest: int = 0
    commit: float = 0.0
    slow_commit: float = 0.0
    arrivals: float = 0.0
    safety: float = inf


@dataclass(frozen=True, slots=True)
class BatchSize:
    """At most ``rows`` rows, for a ``reason``. ``backlog_rows`` waiting rows or more are a backlog.

    ``lagging``: so many wait. ``least_seconds`` is the least target within reach now: that of batches of one row.
    """

    rows: int
    reason: Reason
    backlog_rows: int
    lagging: bool = False
    least_seconds: float = 0.0


def choose(limits: BatchLimits, measured: Measured, waiting_rows: int) -> BatchSize:
    """Return the size of the next batch when so many rows wait."""
    line = measured.line
    if line is None:
        rows = _whole_calls(min(START_ROWS, limits.cap), limits.model_rows_max)
        return BatchSize(rows, Reason.UNKNOWN, limits.cap)
    by_cost = rows_within(line, limits.target / 2 - measured.slow_commit)
    bound, reason = (measured.safety, Reason.SAFETY) if measured.safety < by_cost else (by_cost, Reason.COST)
    least = min(least_rows(line, measured.commit, measured.arrivals), limits.cap)
    if bound < least:
        bound, reason = math.ceil(least), Reason.LOAD
    seconds_per_row = line.seconds(bound) / bound if bound < inf else line.row_seconds
    backlog = max(1.0, min(bound, limits.cap))
    if seconds_per_row:
        backlog = max(backlog, min(BACKLOG_TARGETS * limits.target / seconds_per_row, limits.buffer_rows / 2))
    lagging = waiting_rows >= backlog
    if lagging and (large := max(paying_rows(line), rows_within(line, limits.target))) > bound:
        bound, reason = large, Reason.BACKLOG
    if bound > (known := max(START_ROWS, GROWTH * measured.largest)):
        bound, reason = known, Reason.UNKNOWN
    if bound >= limits.cap:
        bound, reason = limits.cap, Reason.CAP
    return BatchSize(
        _whole_calls(max(1, int(bound)), limits.model_rows_max),
        reason,
        math.ceil(backlog),
        lagging,
        2 * (line.seconds(1) + measured.commit),
    )


def rows_within(line: CostLine, seconds: float) -> float:
    """Return the largest batch that is computed in so many seconds: 0 if there is none, infinite if any is."""
    left = seconds - line.fixed_seconds
    if left <= 0:
        return 0.0
    return left / line.row_seconds if line.row_seconds else inf


def paying_rows(line: CostLine) -> float:
    """Return the size from which on the fixed part is at most ``FIXED_SHARE`` of a batch; infinite if none is."""
    if not line.row_seconds:
        return inf
    return max(1.0, (1 - FIXED_SHARE) / FIXED_SHARE * line.fixed_seconds / line.row_seconds)


def least_rows(line: CostLine, commit: float, arrivals: float) -> float:
    """Return the size below which batches make rows older: see the top of this file."""
    spare = 1 - arrivals * line.row_seconds  # the share of the time in which no row must be computed
    # R b / (1 - R a) with R = r + SPARE_SHARE (1 / a - r)
    rows = SPARE_SHARE / line.row_seconds + (1 - SPARE_SHARE) * arrivals if line.row_seconds else arrivals
    left = (1 - SPARE_SHARE) * spare if line.row_seconds else 1.0
    keeps_up = rows * line.fixed_seconds / left if left > 0 else inf
    return max(1.0, rows_within(line, commit), min(keeps_up, paying_rows(line)))


def _whole_calls(rows: int, model_rows_max: int) -> int:
    """Return a multiple of the largest call of the model, if the batch has more rows than one call may have."""
    return rows if rows <= model_rows_max else rows - rows % model_rows_max
