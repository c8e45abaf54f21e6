"""surgetank.state.budget: the memory for state, shared out."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.errors import SettingsError
from surgetank.records import large_binary
from surgetank.state.budget import MIB, share, steps
from surgetank.state.row_cache import RowCache


@given(memory=st.integers(1, 1 << 16), tasks=st.integers(1, 2_000))
def test_the_parts_are_the_whole_or_it_is_refused(memory: int, tasks: int) -> None:
    """Cache, two buffers and rows of each task add up to the memory given; too little is an error, not an overrun."""
    try:
        budget = share(memory, tasks)
    except SettingsError:
        assert memory < 4 + 1.25 * tasks
        return
    assert budget.block_cache + tasks * (2 * budget.write_buffer + budget.rows) == memory * MIB
    assert budget.block_cache >= 4 * MIB
    assert budget.write_buffer >= 128 << 10
    assert budget.rows >= MIB


@given(tasks=st.integers(1, 500))
def test_the_least_that_the_error_names_is_enough_and_less_is_not(tasks: int) -> None:
    """The number in the message is exact."""
    with pytest.raises(SettingsError, match=r"1 MiB of state memory is too little .* at least \d+ MiB") as refused:
        share(1, tasks)
    least = int(str(refused.value).partition("at least ")[2].split()[0])
    assert share(least, tasks).rows > 0
    with pytest.raises(SettingsError):
        share(least - 1, tasks)


def test_more_tasks_never_get_more() -> None:
    """What a task may use falls as tasks come, and so does the number of its open files."""
    budgets = [share(512, tasks) for tasks in (1, 4, 16, 64)]
    for part in ("write_buffer", "rows", "open_files"):
        sizes = [getattr(budget, part) for budget in budgets]
        assert sizes == sorted(sizes, reverse=True)


def test_no_tasks_is_a_defect() -> None:
    """Memory cannot be shared among nobody."""
    with pytest.raises(ValueError, match="1 or more tasks"):
        share(512, 0)


@pytest.mark.parametrize("value_bytes", [64, 512])
def test_the_rows_that_python_holds_fit_in_their_share(value_bytes: int) -> None:
    """What is kept takes no more than the budget's bytes, measured by Python's own allocator, and not much less."""
    budget = share(32, 2)
    rows = budget.rows // value_bytes  # more than fit
    recent = RowCache(budget.rows)
    RowCache(0).put(large_binary([b"key"]), large_binary([b"value"]), 0)  # imports what the first call imports
    tracemalloc.start()
    try:
        for start in range(0, 2 * rows, 500):
            keys = [b"%010d" % number for number in range(start, start + 500)]
            recent.put(large_binary(keys), large_binary([bytes(value_bytes) for _ in keys]), 0)
        del keys
        gc.collect()
        memory_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert budget.rows // 4 < memory_bytes <= budget.rows


def test_tasks_are_counted_in_steps_that_grow_with_them() -> None:
    """Never fewer than there are, never half as many again, and few different numbers."""
    assert [steps(tasks) for tasks in range(1, 10)] == [1, 2, 3, 4, 6, 6, 8, 8, 12]
    assert all(tasks <= steps(tasks) < 1.5 * tasks for tasks in range(1, 1000))
    assert len({steps(tasks) for tasks in range(1, 65)}) == 12
