"""The text of keys and ids: every type that an event's field may have, with every value that its encoding allows."""

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgetank.text_columns import as_key, as_text, has_text

FIXED_WIDTH = [
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.date32(),
    pa.time32("ms"),
    pa.time64("us"),
    *(pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC")),
]


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (b"M\xfcller", pa.binary(), "4dfc6c6c6572"),
        (bytes(range(16)), pa.binary(16), "000102030405060708090a0b0c0d0e0f"),
        (b"", pa.binary(), ""),
        ("Müller", pa.string(), "Müller"),
        (-7, pa.int64(), "-7"),
        (0.5, pa.float32(), "0.5"),
        (True, pa.bool_(), "true"),
        (Decimal("1.20"), pa.decimal128(5, 2), "1.20"),
        (19_000, pa.date32(), "2022-01-08"),
        (1_700_000_000_123, pa.timestamp("ms", "UTC"), "2023-11-14 22:13:20.123Z"),
        (1_700_000_000_123, pa.timestamp("ms"), "2023-11-14 22:13:20.123"),
        (2**63 - 1, pa.timestamp("ms", "UTC"), "9223372036854775807"),
        (-1, pa.time32("ms"), "-1"),
    ],
)
def test_each_type_has_the_documented_text(value: object, dtype: pa.DataType, text: str) -> None:
    """Bytes are hexadecimal, times are ISO 8601 or, out of range, their number."""
    array = pa.array([None, value, None], dtype)
    assert has_text(dtype)
    assert as_text(array).to_pylist() == [None, text, None]
    assert as_text(array.slice(1, 1)).to_pylist() == [text]


@pytest.mark.parametrize(
    "dtype", [pa.list_(pa.int32()), pa.map_(pa.string(), pa.int32()), pa.struct([("a", pa.int32())])]
)
def test_records_arrays_and_maps_have_no_text(dtype: pa.DataType) -> None:
    """A declaration that names such a field as key or id is refused."""
    assert not has_text(dtype)


@settings(max_examples=300, deadline=None)
@given(dtype=st.sampled_from(FIXED_WIDTH), noise=st.binary(min_size=8, max_size=80))
def test_any_bits_of_a_column_have_a_text(dtype: pa.DataType, noise: bytes) -> None:
    """Decoders keep any number that fits the encoding, also 292 million years before Christ."""
    width = dtype.bit_width // 8
    n = len(noise) // width
    array = pa.Array.from_buffers(dtype, n, [None, pa.py_buffer(noise[: n * width])])

    text = as_text(array)

    text.validate(full=True)
    assert (len(text), text.null_count) == (n, 0)
    if pa.types.is_temporal(dtype):
        assert len(set(text.to_pylist())) == len(set(array.view(pa.int64() if width == 8 else pa.int32()).to_pylist()))


def test_a_record_key_repeats_bytes_unchanged_and_all_else_as_text() -> None:
    """A replay sends the keys that a producer would send."""
    assert as_key(pa.array([b"\xff\0", None])).to_pylist() == [b"\xff\0", None]
    assert as_key(pa.array([b"\xff\0"], pa.binary(2))).to_pylist() == [b"\xff\0"]
    assert as_key(pa.array(["a", None])).to_pylist() == [b"a", None]
    assert as_key(pa.array([17, None], pa.int32())).to_pylist() == [b"17", None]
