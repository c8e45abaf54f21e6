"""When to commit, and how long the next batch may gather. The decisions are pure."""

WORTHWHILE_ROWS = 1024  # what a batch costs at all is by then a small part of what it costs
RETRY_SECONDS = 0.05  # before tasks go on after an abort; doubled with each further one in a row, up to
RETRY_SECONDS_MAX = 5.0  # this: what fails for good must not spin


def commit_time(*, opened_at: float, last_commit_at: float, interval_seconds: float, flooded: bool) -> float:
    """Return when to commit what is open; all times are monotonic seconds. Pure.

    A flooded worker commits once per interval: its events have waited longer than that anyway, and each commit costs
    the brokers milliseconds per partition. One that keeps up commits at once, but not sooner than a tenth of the
    interval after its last commit: a single event after a silence waits for nothing.
    """
    return opened_at + interval_seconds if flooded else last_commit_at + interval_seconds / 10


def linger_seconds(
    *, now: float, last_commit_at: float, interval_seconds: float, waiting_rows: int, committing: bool
) -> float:
    """Return how many seconds the next batch may gather for; times are monotonic seconds. Pure.

    What would be computed now could not be committed before the commit under way has ended, or before the next one is
    due, and many small batches cost many times what one does. A batch that is worth its while goes at once.
    ``committing``: a commit is under way; its end is to be waited for, at most for the returned time.
    """
    if waiting_rows >= WORTHWHILE_ROWS:
        return 0.0
    return interval_seconds if committing else max(0.0, last_commit_at + interval_seconds / 10 - now)


def retry_seconds(aborts: int) -> float:
    """Return how many seconds tasks wait after an abort, given how many there were in a row before it. Pure."""
    return min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2.0**aborts) if aborts else 0.0
