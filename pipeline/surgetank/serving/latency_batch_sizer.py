"""Batches that hold a latency target: measures, chooses by cost, and corrects by what happened.

The safety loop corrects what the model of the cost does not know (AIMD, Chiu and Jain 1989): a batch whose oldest row
was older than the target at its commit takes away 30 % of the size, each batch within the target gives back a little.
So a bound that is too large is exceeded by one batch in hundreds. Batches are judged that could have been in time only:
a row that was too old already when its batch was taken, as with timestamps of the past, says nothing about sizes.
Neither does a large batch of a backlog, nor a batch that waited for something else for most of the time: for a broker,
or for a processor.
"""

import math
import threading
from collections.abc import Callable, Sequence
from math import inf

from surgetank.batch_sizing import BatchTimes
from surgetank.serving.batch_cost import BatchCost, CostLine
from surgetank.serving.batch_size_choice import BatchLimits, BatchSize, Measured, choose, rows_within
from surgetank.serving.recent_mean import RecentMean

DECREASE = 0.7
INCREASE = 1 / 512  # of the size by cost, for each batch within the target
SIZE_SHARE = 0.5  # of the age of a row: what two batches take is the cause if it is so much
ARRIVALS_SECONDS = 0.5  # time constant of the arrival rate
SLOW = 2.0  # mean deviations by which a slow commit is longer than the mean one


class LatencyBatchSizer:
    """A ``BatchSizer`` with a latency target.

    The scorer splits a batch into calls that the model can take; a batch of several calls consists of whole ones.
    ``on_chosen`` is called with each new size and the cost of a batch, in the thread that computes.
    """

    def __init__(self, limits: BatchLimits, on_chosen: Callable[[BatchSize, CostLine | None], None]) -> None:
        self._limits = limits
        self._on_chosen = on_chosen
        self._lock = threading.Lock()
        self._cost = BatchCost()
        self._commit = RecentMean()
        self._arrivals = 0.0  # rows per second
        self._safety = inf
        self._now = 0.0  # when a batch was taken last
        self._decreased_at = -inf
        self._calm_since = -inf  # when a batch was taken without a backlog for the first time; inf in a backlog
        self._left = 0  # rows that waited when a batch was taken last, less the rows of the batches since
        self._choice = choose(self._limits, Measured(None), 0)

    def rows_max(self) -> int:
        """Return the size that was chosen last."""
        return self._choice.rows

    def backlog_rows(self) -> int:
        """Return the waiting rows that cannot be computed within the target."""
        return self._choice.backlog_rows

    def waiting(self, rows: int, now: float) -> None:
        """Choose the size of the batch that is taken now."""
        with self._lock:
            self._count_arrivals(rows, now)
            measured = Measured(
                self._cost.line,
                self._cost.measured_rows,
                self._commit.mean,
                self._commit.mean + SLOW * self._commit.deviation,
                self._arrivals,
                self._safety,
            )
            self._choice = choose(self._limits, measured, rows)
            self._calm_since = inf if self._choice.lagging else min(self._calm_since, now)
            self._on_chosen(self._choice, self._cost.line)

    def computed(self, rows: int, seconds: float) -> None:
        """Learn the cost."""
        with self._lock:
            self._left -= rows
            self._cost.add(rows, seconds)

    def committed(self, batches: Sequence[BatchTimes], seconds: float) -> None:
        """Learn the duration of a commit, except in a backlog, and judge the batches."""
        with self._lock:
            if not self._choice.lagging:
                self._commit.add(seconds)
            for batch in batches:
                self._judge(batch)

    def _judge(self, batch: BatchTimes) -> None:
        line, target = self._cost.line, self._limits.target
        if line is None or batch.taken_at < max(self._decreased_at, self._calm_since):
            return
        if batch.taken_age + line.seconds(1) + self._commit.mean > target:
            return
        if batch.committed_age > target and 2 * line.seconds(batch.rows) < SIZE_SHARE * batch.committed_age:
            return
        by_cost = rows_within(line, target / 2 - self._commit.mean)
        if batch.committed_age > target:
            self._safety = max(1.0, DECREASE * min(self._safety, by_cost, self._limits.cap))
            self._decreased_at = self._now
        else:
            self._safety += INCREASE * max(1.0, min(by_cost, self._limits.cap))

    def _count_arrivals(self, rows: int, now: float) -> None:
        """Follow the arrival rate; ``rows`` wait now."""
        passed, arrived = now - self._now, max(0, rows - self._left)
        self._left = rows
        if self._now and passed > 0:
            share = 1 - math.exp(-passed / ARRIVALS_SECONDS)
            self._arrivals += share * (arrived / passed - self._arrivals)
        self._now = now
