"""Values of the columnar client that need no Kafka."""

import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surgetank.record_headers import decode_headers
from surgetank.records import OutputRecords, PartitionRecords, TopicPartition, byte_lengths, large_binary, payload_bytes

CELLS = st.lists(st.none() | st.binary(max_size=20), max_size=12)


@given(st.lists(st.tuples(st.binary(max_size=9), st.none() | st.binary(max_size=9))))
def test_headers_are_read_as_the_compiled_loop_writes_them(headers: list[tuple[bytes, bytes | None]]) -> None:
    """Lengths before names and values, -1 for a null value; a name that is no text keeps its bytes."""
    encoded = b""
    for name, value in headers:
        encoded += struct.pack("<i", len(name)) + name
        encoded += struct.pack("<i", -1) if value is None else struct.pack("<i", len(value)) + value

    found = decode_headers(encoded)

    assert [(name.encode(errors="surrogateescape"), value) for name, value in found] == headers


def test_a_slice_of_output_records_has_the_rows_of_all_columns() -> None:
    """Partitions, keys, values and headers stay side by side."""
    keys, values = large_binary([b"a", None, b"c", b"d"]), large_binary([b"0", b"1", None, b"3"])
    whole = OutputRecords("t", np.arange(4, dtype=np.int32), keys, values, [(), [("h", b"1")], (), [("i", None)]])

    part = whole.slice(1, 3)

    assert len(part) == 2
    assert part.partitions.tolist() == [1, 2]
    assert part.keys.to_pylist() == [None, b"c"]
    assert part.values.to_pylist() == [b"1", None]
    assert part.headers == [[("h", b"1")], ()]


@given(CELLS, st.integers(0, 12), st.integers(0, 12))
def test_lengths_are_those_of_the_values_also_of_a_slice(cells: list[bytes | None], start: int, length: int) -> None:
    """Null has length 0, as an empty value has."""
    column, expected = large_binary(cells).slice(start, length), [len(each or b"") for each in cells][start:][:length]

    assert byte_lengths(column).tolist() == expected
    assert payload_bytes(column) == sum(expected)


@given(
    st.lists(st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=20)), min_size=2), st.data()
)
def test_records_that_are_split_are_the_same_records(
    cells: list[tuple[bytes | None, bytes | None]], data: st.DataObject
) -> None:
    """Rows, offsets and headers of both parts are those of the whole, also when a part is split once more."""
    n = len(cells)
    offsets = np.arange(10, 10 + 2 * n, 2)
    keys, values = large_binary([key for key, _ in cells]), large_binary([value for _, value in cells])
    whole = PartitionRecords(
        TopicPartition("t", 0), 99, offsets, offsets * 3, keys, values, lambda row: [(str(row), None)], offsets % 5
    )

    at = data.draw(st.integers(1, n - 1))
    parts = [*whole.split(at)]
    if len(parts[1]) > 1:
        parts[1:] = parts[1].split(data.draw(st.integers(1, len(parts[1]) - 1)))

    assert [offset for part in parts for offset in part.offsets.tolist()] == offsets.tolist()
    assert [time for part in parts for time in part.arrived_ms.tolist()] == (offsets * 3).tolist()
    assert [
        pair for part in parts for pair in zip(part.keys.to_pylist(), part.values.to_pylist(), strict=True)
    ] == cells
    assert [part.headers_of(row)[0][0] for part in parts for row in range(len(part))] == [str(row) for row in range(n)]
    assert [part.next_offset for part in parts] == [*(int(part.offsets[0]) for part in parts[1:]), 99]
    assert sum(part.payload_bytes for part in parts) == whole.payload_bytes


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=9), st.integers(0, 30))
def test_as_many_rows_as_fit_are_within_a_bound(cells: list[tuple[int, int]], bytes_max: int) -> None:
    """The first rows whose keys, values and headers have no more bytes together."""
    offsets = np.arange(len(cells))
    records = PartitionRecords(
        TopicPartition("t", 0),
        len(cells),
        offsets,
        offsets,
        large_binary([None] * len(cells)),
        large_binary([bytes(size) for size, _ in cells]),
        header_bytes=np.array([size for _, size in cells], dtype=np.int64),
    )

    rows = records.rows_within(bytes_max)

    sizes = [value + headers for value, headers in cells]
    assert records.payload_bytes == sum(sizes)
    assert sum(sizes[:rows]) <= bytes_max
    assert rows == len(sizes) or sum(sizes[: rows + 1]) > bytes_max
