"""Finding the guilty rows of a batch that fails as a whole. Pure: what is tried is given as a function."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def bisect_failures(
    n: int, attempt: Callable[[int, int], T]
) -> tuple[list[tuple[int, int, T]], list[tuple[int, Exception]]]:
    """Split what fails in halves until each failing row stands alone.

    ``attempt(start, stop)`` handles rows [start, stop) and raises an Exception if it cannot handle any one of
    them. Return what succeeded as (start, stop, result), and what failed as (row, exception), both in row
    order; together they cover the rows 0 to n-1 exactly once. No row is guilty that was not tried alone.

    With k guilty rows there are at most 2 k ceil(log2 n) + 1 attempts, and never more than 2n - 1, which is
    reached when every row fails; n of 0 attempts nothing. KeyboardInterrupt and its like, which are no
    Exception, pass through.
    """
    done: list[tuple[int, int, T]] = []
    bad: list[tuple[int, Exception]] = []
    waiting = [(0, n)] if n > 0 else []  # a stack with the first rows on top, so that results come in order
    while waiting:
        start, stop = waiting.pop()
        try:
            done.append((start, stop, attempt(start, stop)))
        except Exception as error:  # noqa: BLE001 - whatever it raises, the row is to blame and the worker lives
            if stop - start == 1:
                bad.append((start, error))
            else:
                middle = (start + stop) // 2
                waiting += [(middle, stop), (start, middle)]
    return done, bad
