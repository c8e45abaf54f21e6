"""Decides when to commit and how long to linger before the next batch. Pure."""

WORTHWHILE_ROWS = 1024  # from this size on, the fixed cost of a batch is a small part of its total cost
RETRY_SECONDS = 0.05  # backoff after an abort, doubled with each further consecutive abort
RETRY_SECONDS_MAX = 5.0  # upper bound of the backoff, so that a permanent failure does not busy-loop


def commit_time(*, opened_at: float, last_commit_at: float, interval_seconds: float, flooded: bool) -> float:
    """Return when to commit the open transaction; all times are monotonic seconds. Pure.

    A ``flooded`` worker commits once per interval: its events have waited longer than that anyway, and each commit
    costs the brokers milliseconds per partition. Any other worker commits as soon as a tenth of the interval has passed
    since its last commit, so a single event after an idle period is committed without delay.
    """
    return opened_at + interval_seconds if flooded else last_commit_at + interval_seconds / 10


def linger_seconds(
    *, now: float, last_commit_at: float, interval_seconds: float, waiting_rows: int, committing: bool
) -> float:
    """Return how many seconds to linger before the next batch; times are monotonic seconds. Pure.

    A batch computed now could not be committed before the commit in progress has ended or the next one is due, and
    many small batches cost more than one large batch. A batch of at least ``WORTHWHILE_ROWS`` is taken at once.
    ``committing``: a commit is in progress; the caller waits for its end, at most for the returned time.
    """
    if waiting_rows >= WORTHWHILE_ROWS:
        return 0.0
    return interval_seconds if committing else max(0.0, last_commit_at + interval_seconds / 10 - now)


def retry_seconds(aborts: int) -> float:
    """Return the backoff in seconds after an abort that follows ``aborts`` consecutive aborts. Pure."""
    return min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2.0**aborts) if aborts else 0.0
