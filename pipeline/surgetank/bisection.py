"""Finds the failing rows of a batch that fails as a whole. Pure: the operation is a parameter."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def bisect_failures(
    n: int, attempt: Callable[[int, int], T]
) -> tuple[list[tuple[int, int, T]], list[tuple[int, Exception]]]:
    """Bisect a failing range until each failing row is isolated.

    ``attempt(start, stop)`` processes rows [start, stop) and raises an Exception if any of them fails. Return the
    successes as (start, stop, result) and the failures as (row, exception), both in row order; together they cover the
    rows 0 to n-1 exactly once. A row is reported as failed only after an attempt with this row alone.

    With k failing rows there are at most 2 k ceil(log2 n) + 1 attempts, and never more than 2n - 1, reached when every
    row fails; n = 0 makes no attempt. Exceptions that are not an Exception, such as KeyboardInterrupt, propagate.
    """
    done: list[tuple[int, int, T]] = []
    bad: list[tuple[int, Exception]] = []
    waiting = [(0, n)] if n > 0 else []  # a stack, first rows on top, so that results are in order
    while waiting:
        start, stop = waiting.pop()
        try:
            done.append((start, stop, attempt(start, stop)))
        except Exception as error:  # noqa: BLE001 - any exception is attributed to the row; the worker continues
            if stop - start == 1:
                bad.append((start, error))
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
    return done, bad
