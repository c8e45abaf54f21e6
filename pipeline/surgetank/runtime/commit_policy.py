"""Decides when to commit and how long to linger before the next batch. Pure."""

from collections.abc import Callable

WORTHWHILE_ROWS = 1024  # from this size on, the fixed cost of a batch is a small part of its total cost
BATCHES_AHEAD = 2  # computed batches that may wait for the producer while the next one is computed
RETRY_SECONDS = 0.05  # backoff after an abort, doubled with each further consecutive abort
RETRY_SECONDS_MAX = 5.0  # upper bound of the backoff, so that a permanent failure does not busy-loop


class CommitPolicy:
    """Decides for one worker, from the beginning of its last commit. Times are monotonic seconds.

    A commit is due after ``interval_seconds`` if at least ``backlog_rows()`` rows wait, sooner otherwise.
    ``batch_rows_max`` returns the largest number of rows of the next batch; by default more rows are a backlog.
    """

    def __init__(
        self,
        interval_seconds: float,
        batch_rows_max: Callable[[], int],
        backlog_rows: Callable[[], int] | None = None,
    ) -> None:
        self._interval = interval_seconds
        self._batch_rows_max = batch_rows_max
        self._backlog_rows = backlog_rows or batch_rows_max
        self._began_at = 0.0  # the last commit

    def commit_began(self, now: float) -> None:
        """Record that a commit begins."""
        self._began_at = now

    def commit_time(self, opened_at: float, waiting_rows: int) -> float:
        """Return when to commit the open transaction."""
        return commit_time(
            opened_at=opened_at,
            last_commit_at=self._began_at,
            interval_seconds=self._interval,
            flooded=waiting_rows >= self._backlog_rows(),
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
            committing=committing,
        )


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
    committing: bool,
) -> float:
    """Return how many seconds to linger before the next batch; times are monotonic seconds. Pure.

    A batch of at least ``WORTHWHILE_ROWS`` is taken at once. A smaller one is not, because many small batches cost more
    than one large batch: it is taken when the commit in progress has ended, since it cannot be committed before, or
    when the next commit is due if none is in progress. ``batch_rows_max`` waiting rows mean that the worker lags, so
    that it must not idle.
    ``computed_batches`` wait for the producer; a further one would wait behind them.
    The caller waits for the end of the commit, at most for the returned time.
    """
    full = waiting_rows >= batch_rows_max
    if computed_batches >= BATCHES_AHEAD or (computed_batches and not full):
        return interval_seconds
    if full or waiting_rows >= WORTHWHILE_ROWS:
        return 0.0
    if committing:
        return interval_seconds
    return max(0.0, last_commit_at + interval_seconds / 10 - now)


def retry_seconds(aborts: int) -> float:
    """Return the backoff in seconds after an abort that follows ``aborts`` consecutive aborts. Pure."""
    return min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2.0**aborts) if aborts else 0.0
