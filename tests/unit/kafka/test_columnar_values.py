"""pipeline.kafka.columnar.columns: values that need no Kafka."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.kafka.columnar.columns import ProducerRecords, decode_headers, encode_headers

HEADERS = st.lists(st.tuples(st.text(), st.none() | st.binary()))


@given(HEADERS)
def test_headers_are_decoded_as_they_were_encoded(headers: list[tuple[str, bytes | None]]) -> None:
    """Any names and values, null and empty ones included."""
    assert decode_headers(encode_headers(headers)) == headers


@given(st.binary())
def test_header_names_that_are_no_text_keep_their_bytes(name: bytes) -> None:
    """They stand as surrogates in the text."""
    text = name.decode(errors="surrogateescape")
    ((found, _),) = decode_headers(encode_headers([(text, None)]))

    assert found.encode(errors="surrogateescape") == name


def test_a_slice_has_the_rows_of_all_columns() -> None:
    """Partitions, keys, values and headers stay side by side."""
    keys = pa.array([b"a", None, b"c", b"d"], pa.large_binary())
    values = pa.array([b"0", b"1", None, b"3"], pa.large_binary())
    headers = pa.array([None, b"h", None, b"i"], pa.large_binary())
    whole = ProducerRecords("t", np.arange(4, dtype=np.int32), keys, values, headers)

    part = whole.slice(1, 3)

    assert len(part) == 2
    assert part.partitions.tolist() == [1, 2]
    assert part.keys.to_pylist() == [None, b"c"]
    assert part.values.to_pylist() == [b"1", None]
    assert part.headers is not None
    assert part.headers.to_pylist() == [b"h", None]
