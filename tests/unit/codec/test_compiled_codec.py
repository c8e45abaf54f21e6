"""surgetank.codec.avro on random schemas: what it reads, refuses and writes is what two other libraries do.

It accepts exactly what the strict reference accepts, with two deliberate differences from fastavro alone: of a map
with a key twice it keeps both entries, where a dict has the last; a decimal with too many digits is an error, where
fastavro rounds it.
"""

import io
import random
from decimal import Decimal
from typing import Any

import avro.io
import avro.schema
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surgetank.codec.avro.body_decoder import BodyDecoder
from surgetank.codec.avro.body_encoder import BodyEncoder
from surgetank.codec.avro.rows import without_times
from surgetank.codec.avro.types import parse
from surgetank.codec.wire import FRAME_BYTES
from tests.unit.codec.avro_samples import record
from tests.unit.codec.reference import Malformed, Reference

Case = tuple[dict[str, Any], list[dict[str, Any]]]
SLOW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def decimals(precision: int, scale: int, size: int = 99) -> st.SearchStrategy[Decimal]:
    """Return decimals of a type, those of a fixed one that has room in its bytes."""
    most = min(10**precision, 2 ** (8 * size - 1)) - 1
    return st.integers(-most, most).map(lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale)))


@st.composite
def schemas_and_rows(draw: st.DrawFn, *, plain: bool = False) -> Case:
    """Return a schema of any types, without decimals if ``plain``, and rows of it, times as integers."""
    names = (f"T{i}" for i in range(1000))

    def leaf() -> tuple[Any, st.SearchStrategy[Any]]:
        longs = st.integers(-(2**63), 2**63 - 1)
        size = draw(st.integers(0, 20))
        precision = draw(st.integers(1, 76))
        scale = draw(st.integers(0, precision))
        decimal = {"logicalType": "decimal", "precision": precision, "scale": scale}
        symbols = [f"s{i}" for i in range(draw(st.sampled_from([1, 2, 70])))]
        choices: list[Any] = [
            ("boolean", st.booleans()),
            ("int", st.integers(-(2**31), 2**31 - 1)),
            ("long", longs),
            ("float", st.floats(width=32, allow_nan=False)),
            ("double", st.floats(allow_nan=False)),
            ("string", st.text(max_size=30)),
            ("bytes", st.binary(max_size=30)),
            ({"type": "long", "logicalType": "timestamp-micros"}, longs),
            ({"type": "enum", "name": next(names), "symbols": symbols}, st.sampled_from(symbols)),
            ({"type": "fixed", "name": next(names), "size": size + 1}, st.binary(min_size=size + 1, max_size=size + 1)),
        ]
        if not plain:
            least = next(n for n in range(1, 40) if 10**precision <= 2 ** (8 * n - 1))
            choices += [
                ({"type": "bytes", **decimal}, decimals(precision, scale)),
                ({"type": "fixed", "name": next(names), "size": least, **decimal}, decimals(precision, scale, least)),
            ]
        picked: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(choices))
        return picked

    def kind(depth: int, *, nullable: bool = True) -> tuple[Any, st.SearchStrategy[Any]]:
        match draw(
            st.sampled_from(["leaf", "leaf", "null or", "or null", "array", "map", "record"] if depth else ["leaf"])
        ):
            case "null or" | "or null" as order if nullable:
                of, values = kind(depth - 1, nullable=False)
                return (["null", of] if order == "null or" else [of, "null"]), st.none() | values
            case "array":
                of, values = kind(depth - 1)
                return {"type": "array", "items": of}, st.lists(values, max_size=4)
            case "map":
                of, values = kind(depth - 1)
                return {"type": "map", "values": of}, st.dictionaries(st.text(max_size=5), values, max_size=3)
            case "record":
                return fields(depth - 1)
        return leaf()

    def fields(depth: int) -> tuple[Any, st.SearchStrategy[Any]]:
        made = {f"f{i}": kind(depth) for i in range(draw(st.integers(1, 4)))}
        schema = record(*((name, of) for name, (of, _) in made.items()), name=next(names))
        return schema, st.fixed_dictionaries({name: values for name, (_, values) in made.items()})

    schema, rows = fields(3)
    return schema, draw(st.lists(rows, min_size=1, max_size=9))


def wire_of(values: list[bytes]) -> pa.LargeBinaryArray:
    """Return values as an array, in the middle of a larger one."""
    return pa.array([b"before", *values, b"behind"], pa.large_binary()).slice(1, len(values))


@SLOW
@given(schemas_and_rows())
def test_it_reads_and_writes_what_fastavro_does(case: Case) -> None:
    """Rows that fastavro wrote are read back; columns are written to the same bytes, whole and in slices."""
    schema, rows = case
    reference = Reference(schema)
    values = reference.write_rows(rows)
    columns, kept, errors = BodyDecoder(parse(schema)).decode(wire_of(values), FRAME_BYTES)
    columns.validate(full=True)
    assert (errors, kept.tolist()) == ([], list(range(len(rows))))
    assert reference.rows(columns) == rows
    encoder = BodyEncoder(parse(schema), 1)
    for start in range(len(rows)):
        encoded = encoder.encode(columns.slice(start))
        encoded.values.validate(full=True)
        assert (encoded.errors, encoded.values.to_pylist()) == ([], values[start:])


@SLOW
@given(schemas_and_rows(plain=True))
def test_it_reads_and_writes_what_the_official_library_does(case: Case) -> None:
    """What the library ``avro`` wrote is read back; what is written, it reads back."""
    schema, rows = case
    theirs = avro.schema.make_avsc_object(without_times(schema))
    values = []
    for row in rows:
        out = io.BytesIO()
        avro.io.DatumWriter(theirs).write(row, avro.io.BinaryEncoder(out))
        values.append(out.getvalue())
    columns, _, errors = BodyDecoder(parse(schema)).decode(wire_of(values), 0)
    assert errors == []
    assert Reference(schema).rows(columns) == rows
    written, failed = BodyEncoder(parse(schema)).encode(columns)
    assert failed == []
    for row, value in zip(rows, written.to_pylist(), strict=True):
        body = io.BytesIO(value)
        assert avro.io.DatumReader(theirs).read(avro.io.BinaryDecoder(body)) == row
        assert body.read() == b""


def mutated(rng: random.Random, value: bytes) -> bytes:
    """Return the value after an accident behind its frame."""
    at = rng.randint(FRAME_BYTES, len(value))
    piece = rng.choice(
        [b"\x00", b"\x01", b"\x02", b"\xff", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x02", rng.randbytes(4)]
    )
    match rng.randrange(5):
        case 0:
            return value[:at]
        case 1:
            return value[:at] + piece + value[at:]
        case 2:
            return value[:at] + piece + value[at + len(piece) :]
        case 3 if at < len(value):
            return value[:at] + bytes([value[at] ^ (1 << rng.randrange(8))]) + value[at + 1 :]
    return value[:at] + value[at + rng.randint(0, 3) :]


@SLOW
@pytest.mark.filterwarnings("ignore:Encountered key")
@given(schemas_and_rows(), st.integers(0, 2**32))
def test_it_refuses_what_the_reference_refuses_at_the_same_byte(case: Case, seed: int) -> None:
    """Of mutated values it accepts those that the reference accepts, as the same rows; others it names the byte of."""
    schema, rows = case
    rng = random.Random(seed)
    reference = Reference(schema)
    good = reference.write_rows(rows)
    values = [mutated(rng, value) if i % 3 else value for value in good for i in range(12)]
    columns, kept, errors = BodyDecoder(parse(schema)).decode(wire_of(values), FRAME_BYTES)
    columns.validate(full=True)
    expected: dict[int, bytes] = {}
    refused: list[tuple[int, int, str]] = []
    for row, value in enumerate(values):
        try:
            expected[row] = reference.write(reference.read(value))[0]
        except Malformed as error:
            refused.append((row, error.at, str(error)))
    assert [
        (error.row, error.position, str(error).split(", ", 1)[-1].split(f"byte {error.position}: ")[-1])
        for error in errors
    ] == refused
    assert dict(zip(kept.tolist(), reference.write(columns), strict=True)) == expected


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=12) | st.text(max_size=6).map(str.encode), st.integers(0, 9))
def test_text_is_what_python_decodes(raw: bytes, before: int) -> None:
    """Overlong forms, surrogates and halves of characters are refused, wherever a text begins."""
    value = bytes([2 * (before + len(raw))]) + b"a" * before + raw
    columns, _, errors = BodyDecoder(parse(record(("it", "string")))).decode(wire_of([value]), 0)
    wrong: list[tuple[int, str]] = []
    text: list[str] = []
    try:
        text = ["a" * before + raw.decode()]
    except UnicodeDecodeError as error:
        wrong = [(1 + before + error.start, f"not UTF-8: {error.reason}")]
    assert [(each.position, each.problem) for each in errors] == wrong
    assert columns.column("it").to_pylist() == text


def python_decodes(raw: bytes) -> bool:
    """Return whether the bytes are UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("behind", [b"", b"\x80", b"\xbf\x80", b"\xc0"])
def test_every_beginning_of_a_character_is_judged_as_python_does(behind: bytes) -> None:
    """All pairs of bytes, with some behind them: that includes every overlong form and every surrogate."""
    raws = [bytes([first, second]) + behind for first in range(0x80, 0x100) for second in range(0x100)]
    values = [bytes([2 * len(raw)]) + raw for raw in raws]
    _, kept, _ = BodyDecoder(parse(record(("it", "string")))).decode(wire_of(values), 0)
    assert kept.tolist() == [row for row, raw in enumerate(raws) if python_decodes(raw)]


def test_every_code_point_is_text() -> None:
    """All characters there are, in one column."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    reference = Reference(record(("it", "string")))
    text = "".join(characters)
    values = reference.write_rows([{"it": text[i : i + 997]} for i in range(0, len(text), 997)])
    columns, _, errors = BodyDecoder(reference.record).decode(wire_of(values), FRAME_BYTES)
    assert errors == []
    assert "".join(columns.column("it").to_pylist()) == text


def test_room_grows_with_what_comes() -> None:
    """Batches of few and small values, then of many and large ones, with bad rows between, lose nothing."""
    schema = record(
        ("text", "string"),
        ("list", {"type": "array", "items": ["null", {"type": "map", "values": "bytes"}]}),
        ("fixed", {"type": "fixed", "name": "F", "size": 3}),
    )
    reference = Reference(schema)
    decoder = BodyDecoder(reference.record)
    for scale in (0, 1, 300, 2, 40, 3000):
        rows = [
            {"text": "t" * scale * i, "list": [None, {"k": b"v" * i}] * (scale % 1000), "fixed": b"abc"}
            for i in range(8)
        ]
        good = reference.write_rows(rows)
        values = [value for each in good for value in (each, each[:-1])]
        columns, kept, errors = decoder.decode(wire_of(values), FRAME_BYTES)
        columns.validate(full=True)
        assert kept.tolist() == list(range(0, 16, 2))
        assert [(error.row, error.path) for error in errors] == [(row, "fixed") for row in range(1, 16, 2)]
        assert reference.rows(columns) == rows


def test_columns_outlive_the_next_batch() -> None:
    """What was decoded does not change when the decoder goes on."""
    reference = Reference(record(("it", "long"), ("text", "string")))
    decoder = BodyDecoder(reference.record)
    rows = [{"it": i, "text": f"text {i}"} for i in range(50)]
    first = decoder.decode(wire_of(reference.write_rows(rows)), FRAME_BYTES).columns
    decoder.decode(wire_of(reference.write_rows([{"it": -1, "text": "x" * 99}] * 50)), FRAME_BYTES)
    assert reference.rows(first) == rows


def test_only_the_rows_that_are_asked_for_are_decoded() -> None:
    """Rows and errors are named by their place in the array, whatever lies between."""
    reference = Reference(record(("it", "long")))
    values = reference.write_rows([{"it": i} for i in range(6)])
    values[4] += b"x"
    wire = wire_of([value if i % 2 == 0 else b"" for i, value in enumerate(values)])
    columns, kept, errors = BodyDecoder(reference.record).decode(wire, FRAME_BYTES, np.array([0, 2, 4]))
    assert columns.column("it").to_pylist() == [0, 2]
    assert kept.tolist() == [0, 2]
    assert [str(error) for error in errors] == ["byte 6: 1 bytes follow the end of the record"]
    assert errors[0].row == 4


NESTED = record(
    ("id", "int"),
    ("legs", {"type": "array", "items": record(("to", "string"), ("at", ["null", "long"]), name="Leg")}),
    ("names", {"type": "map", "values": {"type": "enum", "name": "E", "symbols": ["a", "b"]}}),
    ("price", {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}),
)
HEAD = b"\0\0\0\0\1"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "byte 5, field 'id': needs 1 bytes, 0 are left"),
        (b"\x80\x80", "byte 7, field 'id': needs 1 bytes, 0 are left"),
        (b"\x80\x80\x80\x80\x10", "byte 5, field 'id': the number has more than 32 bits"),
        (b"\xff" * 9 + b"\2", "byte 5, field 'id': the number has more than 64 bits"),
        (b"\xff" * 10, "byte 5, field 'id': a number of more than ten bytes"),
        (b"\2\4\4ab\0\5", "byte 12, field 'legs[].to': needs -3 bytes, 0 are left"),
        (b"\2\2\4ab\4", "byte 10, field 'legs[].at': branch 2 of 2"),
        (b"\2\2\4a\xff\0", "byte 9, field 'legs[].to': not UTF-8: invalid start byte"),
        (b"\2\2\6ab", "byte 8, field 'legs[].to': needs 3 bytes, 2 are left"),
        (b"\2\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", "byte 6, field 'legs[]': a block of -9223372036854775808 items"),
        (b"\2\0\2\2k\4", "byte 10, field 'names{}': symbol 2 of 2"),
        (b"\2\0\0\4\3\xe8", "byte 9, field 'price': the decimal has more digits than its type"),
        (b"\2\0\0\4\3\xe7\7\7", "byte 11: 2 bytes follow the end of the record"),
    ],
)
def test_an_error_names_the_byte_and_the_field(body: bytes, says: str) -> None:
    """The byte is that of the framed value where what is wrong begins."""
    _, _, errors = BodyDecoder(parse(NESTED)).decode(wire_of([HEAD + body]), FRAME_BYTES)
    assert [str(error) for error in errors] == [says]


@pytest.mark.parametrize("size", [0, 1, 16, 17, 31, 32, 40])
@pytest.mark.parametrize("precision", [1, 18, 19, 38, 39, 76])
def test_decimals_in_more_bytes_than_they_need_are_read(size: int, precision: int) -> None:
    """A number that fits is read from any count of bytes; the first that does not is refused."""
    schema = record(("it", {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": 0}))
    most = 10**precision
    edge = 2 ** (8 * size - 1) if size else 1
    for number in (0, -1, 1, most - 1, 1 - most, most, -most, edge - 1, -edge):
        if not -edge <= number < edge or (size == 0 and number):
            continue
        raw = number.to_bytes(size, "big", signed=True)
        value = bytes([2 * len(raw)]) + raw
        columns, _, errors = BodyDecoder(parse(schema)).decode(wire_of([value]), 0)
        if abs(number) < most:
            assert [int(each) for each in columns.column("it").to_pylist()] == [number]
        else:
            assert [error.position for error in errors] == [1]


def test_a_decimal_that_has_no_room_is_refused() -> None:
    """A number of more bytes than the fixed ones is an error of its row; the others are written."""
    schema = record(
        ("it", {"type": "fixed", "name": "F", "size": 1, "logicalType": "decimal", "precision": 3, "scale": 0})
    )
    columns = pa.record_batch([pa.array([Decimal(5), Decimal(128), Decimal(-5)], pa.decimal128(3, 0))], names=["it"])
    values, errors = BodyEncoder(parse(schema)).encode(columns)
    assert values.to_pylist() == [b"\x05", None, b"\xfb"]
    assert [(error.row, str(error)) for error in errors] == [(1, "field 'it': the decimal needs more than 1 bytes")]


def test_values_of_two_gibibytes_are_refused() -> None:
    """Columns have offsets of 32 bits: more than they can count is an error, not a wrong column."""
    offsets = pa.py_buffer(np.array([0, 2**31], dtype=np.int64))
    values = pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(np.zeros(2**31, dtype=np.uint8))])
    with pytest.raises(ValueError, match="at most 2147483647"):
        BodyDecoder(parse(record(("it", "bytes")))).decode(values, 0)


def test_entries_of_a_map_begin_where_their_array_begins() -> None:
    """A map may lie over a part of its entries; pyarrow's own ``keys`` and ``items`` show others then."""
    schema = record(("it", {"type": "map", "values": "int"}))
    pairs = [pa.array(["x", "a", "b"]), pa.array([0, 1, 2], pa.int32())]
    entries = pa.StructArray.from_arrays(pairs, names=["key", "value"]).slice(1)
    offsets = pa.py_buffer(np.array([0, 2], dtype=np.int32))
    encoder = BodyEncoder(parse(schema))
    maps = pa.Array.from_buffers(encoder.schema.types[0], 1, [None, offsets], children=[entries])
    values, errors = encoder.encode(pa.RecordBatch.from_arrays([maps], schema=encoder.schema))
    assert (errors, values.to_pylist()) == ([], [b"\x04\x02a\x02\x02b\x04\x00"])
