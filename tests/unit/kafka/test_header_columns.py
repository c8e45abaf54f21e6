"""Headers of many records as columns: the compiled search finds what reading header by header finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from surgetank.header_columns import header_columns
from surgetank.record_headers import EncodedHeaders, decode_headers, encode_headers, encoded_headers
from surgetank.records import Headers, PartitionRecords, TopicPartition, large_binary

WANTED = ("surgetank.reason", "a", "", "é")
NAMES = st.sampled_from([*WANTED, "surgetank.reasons", "b", "\udcff"])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=300)), max_size=6).map(tuple)


def records(headers: list[Headers]) -> PartitionRecords:
    """Return records with these headers, as the ordinary client returns them."""
    n = len(headers)
    offsets = np.arange(n, dtype=np.int64)
    nothing = large_binary([None] * n)
    return PartitionRecords(TopicPartition("t", 0), n, offsets, offsets, nothing, nothing, headers.__getitem__)


@given(HEADERS)
def test_what_is_encoded_is_decoded(headers: Headers) -> None:
    """Names that are not UTF-8, null and empty values included."""
    assert tuple(decode_headers(encode_headers(headers))) == headers


@given(st.lists(HEADERS, max_size=20), st.integers(0, 3))
def test_the_last_value_and_the_number_of_each_name_are_found(headers: list[Headers], skipped: int) -> None:
    """For any headers, also in a slice of a column, and in rows without any."""
    column = encoded_headers(records(headers)).slice(min(skipped, len(headers)))
    headers = headers[skipped:]

    values, counts = header_columns(column, WANTED)

    for name in WANTED:
        found = [[value for each, value in row if each == name] for row in headers]
        assert values[name].to_pylist() == [row[-1] if row else None for row in found]
        assert counts[name].tolist() == [len(row) for row in found]


def test_headers_of_the_compiled_loop_are_used_as_they_are() -> None:
    """The column is not copied; a null in it means no headers."""
    column = large_binary([None, encode_headers([("a", b"1")])])
    given_ = EncodedHeaders(column)
    batch = records([(), ()])
    object.__setattr__(batch, "headers_of", given_)

    assert encoded_headers(batch).buffers()[2].address == column.buffers()[2].address
    assert [tuple(given_(row)) for row in range(2)] == [(), (("a", b"1"),)]
    values, counts = header_columns(column, ["a"])
    assert values["a"].to_pylist() == [None, b"1"]
    assert counts["a"].tolist() == [0, 1]
