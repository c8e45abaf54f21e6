"""surgetank.bisection: every row is accounted for, the guilty ones stand alone, and the search is bounded."""

from math import ceil, log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.bisection import bisect_failures

anytime = settings(deadline=None)  # tests share their machine


class Rows:
    """Rows of which some make every attempt fail that contains them."""

    def __init__(self, n: int, bad: set[int]) -> None:
        self.n, self.bad = n, bad
        self.attempts: list[tuple[int, int]] = []

    def attempt(self, start: int, stop: int) -> list[int]:
        """Return the rows, or raise for the first bad one."""
        self.attempts.append((start, stop))
        for row in range(start, stop):
            if row in self.bad:
                raise ValueError(f"row {row}")
        return list(range(start, stop))


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Draw up to 300 rows, any of them bad."""
    n = draw(st.integers(0, 300))
    bad = draw(st.sets(st.integers(0, n - 1))) if n else set()
    return Rows(n, bad)


@anytime
@given(rows())
def test_exactly_the_guilty_rows_are_found(rows: Rows) -> None:
    """What failed is exactly the bad rows, in order, each with the exception that it raised itself."""
    _, failed = bisect_failures(rows.n, rows.attempt)
    assert [row for row, _ in failed] == sorted(rows.bad)
    assert [str(error) for _, error in failed] == [f"row {row}" for row in sorted(rows.bad)]


@anytime
@given(rows())
def test_every_other_row_is_done_once_and_in_order(rows: Rows) -> None:
    """The ranges that succeeded hold the good rows, each once, rising, with their own results."""
    done, _ = bisect_failures(rows.n, rows.attempt)
    assert [row for _, _, result in done for row in result] == [r for r in range(rows.n) if r not in rows.bad]
    assert all(result == list(range(start, stop)) for start, stop, result in done)


@anytime
@given(rows())
def test_the_search_is_bounded(rows: Rows) -> None:
    """At most 2 k ceil(log2 n) + 1 attempts for k bad rows, never more than 2n - 1, none for no rows."""
    bisect_failures(rows.n, rows.attempt)
    if rows.n == 0:
        assert rows.attempts == []
        return
    assert len(rows.attempts) <= 2 * len(rows.bad) * ceil(log2(rows.n)) + 1
    assert len(rows.attempts) <= 2 * rows.n - 1
    assert len(set(rows.attempts)) == len(rows.attempts), "nothing is tried twice"


@anytime
@given(rows())
def test_a_row_is_guilty_only_alone(rows: Rows) -> None:
    """Every row that is called guilty was tried by itself."""
    _, failed = bisect_failures(rows.n, rows.attempt)
    assert all((row, row + 1) in rows.attempts for row, _ in failed)


def test_a_fault_that_passes_costs_no_row() -> None:
    """If the first attempt fails for no row's fault, all rows are done by the next ones."""
    calls = []

    def attempt(start: int, stop: int) -> int:
        calls.append((start, stop))
        if len(calls) == 1:
            raise OSError("for a moment")
        return stop - start

    done, failed = bisect_failures(10, attempt)
    assert (done, failed) == ([(0, 5, 5), (5, 10, 5)], [])


def test_an_interrupt_passes_through() -> None:
    """KeyboardInterrupt is nobody's fault and is not caught."""

    def attempt(start: int, stop: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bisect_failures(4, attempt)
