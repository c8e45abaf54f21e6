"""Decides when to commit and how long to linger before the next batch. Pure."""

from collections import deque
from collections.abc import Callable
from statistics import median

WORTHWHILE_ROWS = 1024  # from this size on, the fixed cost of a batch is a small part of its total cost
FIXED_COST_ROWS = 256  # a smaller batch takes about as long as one of this size
BATCHES_AHEAD = 2  # computed batches that may wait for the producer while the next one is computed
RECENT = 15  # batches and commits in an estimate
RETRY_SECONDS = 0.05  # backoff after an abort, doubled with each further consecutive abort
RETRY_SECONDS_MAX = 5.0  # upper bound of the backoff, so that a permanent failure does not busy-loop


class CommitPolicy:
    """Decides for one worker, from how long its recent commits and batches took. Times are monotonic seconds.

    A commit is due after ``interval_seconds`` if at least as many rows wait as the next batch may have, sooner
    otherwise. ``batch_rows_max`` returns the largest number of rows of the next batch.
    """

    def __init__(self, interval_seconds: float, batch_rows_max: Callable[[], int]) -> None:
        self._interval = interval_seconds
        self._batch_rows_max = batch_rows_max
        self._began_at = 0.0  # the last commit
        self._commits: deque[float] = deque(maxlen=RECENT)
        self._batches: deque[tuple[int, float]] = deque(maxlen=RECENT)

    def commit_began(self, now: float) -> None:
        """Record that a commit begins."""
        self._began_at = now

    def committed(self, now: float) -> None:
        """Record the end of the last commit."""
        self._commits.append(now - self._began_at)

    def computed(self, rows: int, seconds: float) -> None:
        """Record how long the computation of a batch took."""
        self._batches.append((max(rows, FIXED_COST_ROWS), seconds))

    def commit_time(self, opened_at: float, waiting_rows: int) -> float:
        """Return when to commit the open transaction."""
        return commit_time(
            opened_at=opened_at,
            last_commit_at=self._began_at,
            interval_seconds=self._interval,
            flooded=waiting_rows >= self._batch_rows_max(),
        )

    def linger_seconds(self, now: float, *, waiting_rows: int, computed_batches: int, committing: bool) -> float:
        """Return how many seconds to wait, at most, for more records before the next batch is taken; 0: take it now."""
        return linger_seconds(
            now=now,
            last_commit_at=self._began_at,
            interval_seconds=self._interval,
            waiting_rows=waiting_rows,
            batch_rows_max=self._batch_rows_max(),
            computed_batches=computed_batches,
            commit_ends_at=self._began_at + self.commit_seconds if committing else None,
            batch_seconds=self.batch_seconds(waiting_rows),
        )

    @property
    def commit_seconds(self) -> float:
        """The expected duration of a commit: the median of the recent ones; before the first one, the interval."""
        return median(self._commits) if self._commits else self._interval

    def batch_seconds(self, rows: int) -> float:
        """Return the expected duration of the computation of a batch, a recent median; 0 before the first one."""
        rows = max(rows, FIXED_COST_ROWS)
        return median(rows / count * seconds for count, seconds in self._batches) if self._batches else 0.0


def commit_time(*, opened_at: float, last_commit_at: float, interval_seconds: float, flooded: bool) -> float:
    """Return when to commit the open transaction; all times are monotonic seconds. Pure.

    A ``flooded`` worker commits once per interval: its events have waited longer than that anyway, and each commit
    costs the brokers milliseconds per partition. Any other worker commits as soon as a tenth of the interval has passed
    since its last commit, so a single event after an idle period is committed without delay.
    """
    return opened_at + interval_seconds if flooded else last_commit_at + interval_seconds / 10


def linger_seconds(
    *,
    now: float,
    last_commit_at: float,
    interval_seconds: float,
    waiting_rows: int,
    batch_rows_max: int,
    computed_batches: int,
    commit_ends_at: float | None,
    batch_seconds: float,
) -> float:
    """Return how many seconds to linger before the next batch; times are monotonic seconds. Pure.

    The next batch cannot be committed before the commit in progress has ended, which is expected at ``commit_ends_at``
    (None: no commit is in progress). So the batch is taken ``batch_seconds``, its expected duration, before that: it is
    computed when the commit ends, and holds all records that arrived until then. Without a commit in progress, a batch
    of at least ``WORTHWHILE_ROWS`` is taken at once, and a smaller one when the next commit is due, because many small
    batches cost more than one large batch. ``batch_rows_max`` waiting rows mean that the worker lags, so that it must
    not idle. ``computed_batches`` wait for the producer; a further one would wait behind them.
    The caller waits for the end of the commit, at most for the returned time.
    """
    full = waiting_rows >= batch_rows_max
    if computed_batches >= BATCHES_AHEAD or (computed_batches and not full):
        return interval_seconds
    if full:
        return 0.0
    if commit_ends_at is not None:
        return max(0.0, commit_ends_at - batch_seconds - now)
    if waiting_rows >= WORTHWHILE_ROWS:
        return 0.0
    return max(0.0, last_commit_at + interval_seconds / 10 - now)


def retry_seconds(aborts: int) -> float:
    """Return the backoff in seconds after an abort that follows ``aborts`` consecutive aborts. Pure."""
    return min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2.0**aborts) if aborts else 0.0
