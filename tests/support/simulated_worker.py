"""A simulated worker: a queue of rows, a thread that computes batches, a thread that commits them. No clock, no Kafka.

The decisions are those of the real commit policy and of a batch sizer. A batch of n rows takes ``row * n + fixed``
seconds, a transaction ``commit`` seconds. Rows arrive at given times and are there at once; a row is done when its
transaction is committed.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgetank.batch_sizing import BatchSizer, BatchTimes
from surgetank.runtime.commit_policy import CommitPolicy

LOOK_SECONDS = 0.01  # as that of the batch assembler
INTERVAL_SECONDS = 0.1  # worker.commit_interval_seconds

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Machine:
    """Seconds of a row, of a batch and of a commit. ``noise``: the standard deviation of their logarithms."""

    row: float
    fixed: float
    commit: float
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class _Batch:
    number: int
    first: int
    end: int
    taken_at: float
    computed_at: float


class SimulatedWorker:
    """Processes rows that arrive at ``arrivals``, float64 [n], ascending seconds; ``ages`` are those at the commit."""

    def __init__(self, machine: Machine, sizer: BatchSizer, arrivals: Floats, seed: int = 1) -> None:
        self.machine = machine
        self._sizer = sizer
        self._policy = CommitPolicy(INTERVAL_SECONDS, sizer.rows_max, sizer.backlog_rows)
        self._arrivals = arrivals
        self._random = np.random.default_rng(seed)
        self.ages = np.full(len(arrivals), np.nan)
        self.committed_at = np.full(len(arrivals), np.nan)
        self.sizes: list[int] = []
        self._taken = 0
        self._computed: deque[_Batch] = deque()  # they wait for the thread that commits
        self._produced: list[_Batch] = []
        self._opened_at: float | None = None
        self._began_at = 0.0
        self._commit_ends: float | None = None

    def run(self) -> "SimulatedWorker":
        """Process all rows."""
        now = 0.0
        while self._taken < len(self._arrivals):
            self._advance(now)
            waiting = self._waiting(now)
            if not waiting:
                now = max(float(self._arrivals[self._taken]), np.nextafter(now, np.inf))
                continue
            linger = self._policy.linger_seconds(
                now,
                waiting_rows=waiting,
                computed_batches=len(self._computed),
                committing=self._commit_ends is not None,
            )
            if linger > 0:
                until = now + min(linger, LOOK_SECONDS)
                now = until if self._commit_ends is None else min(until, max(self._commit_ends, now + 1e-6))
                continue
            now = self._compute(now, waiting)
        while self._computed or self._produced or self._commit_ends is not None:
            now += INTERVAL_SECONDS
            self._advance(now)
        return self

    def _waiting(self, now: float) -> int:
        return int(np.searchsorted(self._arrivals, now, side="right")) - self._taken

    def _noise(self) -> float:
        noise = self.machine.noise
        return float(np.exp(self._random.normal(0.0, noise))) if noise else 1.0

    def _compute(self, now: float, waiting: int) -> float:
        self._sizer.waiting(waiting, now)
        rows = min(waiting, self._sizer.rows_max())
        self.sizes.append(rows)
        seconds = (self.machine.row * rows + self.machine.fixed) * self._noise()
        batch = _Batch(len(self.sizes), self._taken, self._taken + rows, now, now + seconds)
        self._taken = batch.end
        self._advance(batch.computed_at)
        self._sizer.computed(rows, seconds)
        self._computed.append(batch)
        if self._opened_at is None:
            self._opened_at = batch.computed_at
        return batch.computed_at

    def _advance(self, to: float) -> None:
        """Let the thread that commits work until ``to``."""
        while True:
            if self._commit_ends is not None:
                if self._commit_ends > to:
                    return
                self._end_commit(self._commit_ends)
            while self._computed:
                self._produced.append(self._computed.popleft())
            if not self._produced:
                return
            assert self._opened_at is not None
            ready = self._produced[-1].computed_at
            due = max(ready, self._policy.commit_time(self._opened_at, self._waiting(to)), self._began_at)
            if due > to:
                return
            self._policy.commit_began(due)
            self._began_at, self._opened_at = due, None
            self._commit_ends = due + self.machine.commit * self._noise()

    def _end_commit(self, at: float) -> None:
        times = []
        for batch in self._produced:
            oldest = float(self._arrivals[batch.first])
            self.ages[batch.first : batch.end] = at - self._arrivals[batch.first : batch.end]
            self.committed_at[batch.first : batch.end] = at
            times.append(BatchTimes(batch.end - batch.first, batch.taken_at, batch.taken_at - oldest, at - oldest))
        self._sizer.committed(times, at - self._began_at)
        self._produced = []
        self._commit_ends, self._began_at = None, max(self._began_at, at)


def arrivals(seed: int, *steps: tuple[float, float]) -> Floats:
    """Return the times of rows that arrive at random; each step is rows per second and seconds."""
    random = np.random.default_rng(seed)
    found, begin = [np.zeros(0)], 0.0
    for rate, seconds in steps:
        found.append(begin + np.sort(random.uniform(0.0, seconds, round(rate * seconds))))
        begin += seconds
    return np.concatenate(found)
