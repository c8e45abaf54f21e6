"""When the demo begins to send: not before every partition is served."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.drills.demo import all_running


@pytest.mark.parametrize(
    ("tasks", "partitions", "running"),
    [
        ([4, 4], 8, True),
        ([8, 0], 8, False),  # the group has not seen the second worker yet
        ([4, 0], 8, False),  # the second one is opening its tasks
        ([4, 3], 8, False),
        ([1, 1, 0], 2, True),  # there is none for the third
        ([], 8, False),
    ],
)
def test_sending_begins_when_each_partition_has_a_running_task(
    tasks: list[int], partitions: int, running: bool
) -> None:
    """A worker is ready before the group has given it its partitions: that alone is not enough."""
    assert all_running(tasks, partitions) is running


@given(st.integers(1, 50), st.integers(1, 20))
def test_an_even_share_is_enough_for_any_number_of_workers(partitions: int, workers: int) -> None:
    """However many partitions and workers there are, the demo comes to begin."""
    shares = [partitions // workers + (number < partitions % workers) for number in range(workers)]
    assert all_running(shares, partitions)
