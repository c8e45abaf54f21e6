"""The events of several files, merged by their times."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from surgetank import Events
from surgetank.edge.input_file import EventFile
from surgetank.edge.source_records import SourceRecords, batches
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch, large_binary

# A file in parts; an event is its time, or None if it cannot be decoded.
files = st.lists(
    st.lists(st.lists(st.none() | st.integers(0, 12), min_size=1, max_size=6), max_size=4), min_size=1, max_size=3
)


class Times:
    """Values that are times in ms as text: a file of events, and their deserializer."""

    schema = pa.schema([("key", pa.string()), ("t", pa.timestamp("ms", "UTC"))])

    def __init__(self, parts: list[list[int | None]]) -> None:
        self.parts = parts
        self.deserializer = self

    def values(self) -> Iterator[pa.LargeBinaryArray]:
        """Yield the parts."""
        for part in self.parts:
            yield large_binary([b"" if time is None else b"%d" % time for time in part])

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Decode the values that are not empty."""
        values = records.values.to_pylist()
        rows = np.array([row for row, value in enumerate(values) if value], dtype=np.int64)
        times = pa.array([int(values[row]) for row in rows]).cast(pa.int64()).cast(self.schema.field("t").type)
        keys = pa.array([f"k{values[row].decode()}" for row in rows], pa.string())
        return DecodedBatch(records, rows, pa.RecordBatch.from_arrays([keys, times], schema=self.schema)), ()


def sources(given_files: list[list[list[int | None]]], arrived: str | None = None) -> list[SourceRecords]:
    """Return one source for each file."""
    return [
        SourceRecords(
            Events(f"topic-{number}", schema="event", key="key", time="t"),
            cast("EventFile", Times(parts)),
            first=100,
            keyed=True,
            arrived=arrived,
            now_ms=55,
        )
        for number, parts in enumerate(given_files)
    ]


def expected(given_files: list[list[list[int | None]]]) -> list[tuple[int, int]]:
    """Return file and row of each event: by the latest time of its file so far, then by file, then by row."""
    order = []
    for number, parts in enumerate(given_files):
        latest = -1
        for row, time in enumerate(time for part in parts for time in part):
            latest = max(latest, -1 if time is None else time)
            order.append((latest, number, row))
    return [(number, row) for _, number, row in sorted(order)]


@given(files, st.integers(1, 9))
def test_files_are_merged_by_time(given_files: list[list[list[int | None]]], rows_max: int) -> None:
    """No event is lost, twice or before an earlier one of its file; no batch is larger than allowed."""
    found = []
    for batch in batches(sources(given_files), rows_max):
        assert 0 < sum(map(len, batch)) <= rows_max
        for records in batch:
            number = int(records.source.topic.removeprefix("topic-"))
            found += [(number, offset - 100) for offset in records.offsets.tolist()]
            assert records.next_offset == records.offsets[-1] + 1
            times = [time for part in given_files[number] for time in part]
            for offset, key, value in zip(
                records.offsets.tolist(), records.keys.to_pylist(), records.values.to_pylist(), strict=True
            ):
                time = times[offset - 100]
                assert (key, value) == ((None, b"") if time is None else (b"k%d" % time, b"%d" % time))
            assert set(records.arrived_ms.tolist()) == {55}
    assert found == expected(given_files)


def test_the_time_of_arrival_is_that_of_the_column() -> None:
    """Where it is not known it is -1, as for a record without a timestamp."""
    ((records,),) = batches(sources([[[7, None, 3]]], arrived="t"), 10)
    assert records.arrived_ms.tolist() == [7, -1, 3]
