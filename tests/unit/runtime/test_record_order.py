"""The contract of RecordOrder. A new order is one more parameter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.records import PartitionRecords, TopicPartition, large_binary
from surgetank.runtime.record_order import ArrivalOrder, QueuedRecords, RecordOrder

ORDERS = [ArrivalOrder()]


def queued(partition: int, arrival: int, rows: int) -> QueuedRecords:
    """Return records of a partition."""
    offsets, nothing = np.arange(rows), large_binary([b""] * rows)
    return QueuedRecords(
        arrival, PartitionRecords(TopicPartition(f"t{partition}", 0), rows, offsets, offsets, nothing, nothing), 0
    )


@pytest.mark.parametrize("order", ORDERS)
@given(
    entries=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99)), min_size=1, max_size=4, unique_by=lambda e: e[1])
)
def test_an_order_returns_rows_of_one_partition_or_waits(order: RecordOrder, entries: list[tuple[int, int]]) -> None:
    """Records with rows give at least one row, and never more than there are."""
    oldest = [queued(number, arrival, rows) for number, (rows, arrival) in enumerate(entries)]

    found = order.next(oldest)

    if found is not None:
        records, rows = found
        assert any(records is each for each in oldest)
        assert min(1, len(records.records)) <= rows <= len(records.records)


def test_by_arrival_what_was_fetched_first_is_next() -> None:
    """Whole, whichever partition it is of."""
    late, early = queued(0, 8, 2), queued(1, 3, 5)
    assert ArrivalOrder().next([late, early]) == (early, 5)
