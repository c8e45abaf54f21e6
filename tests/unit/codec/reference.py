"""A second codec, slow and strict, that the compiled one is held against: a walk of the bytes, and fastavro."""

import io
from typing import Any

import fastavro
import pyarrow as pa

from surgetank.codec.avro.rows import Rows, fastavro_schema, read_row
from surgetank.codec.avro.types import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Json,
    Map,
    Nullable,
    Primitive,
    Record,
    arrow_struct,
    parse,
)
from surgetank.codec.wire import FRAME_BYTES, frame


class Malformed(ValueError):  # noqa: N818 - the name is what happened
    """The bytes are not what the schema says; the message names the field, ``at`` the byte of the value."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


class Reference:
    """Reads and writes the values of one schema, one at a time."""

    def __init__(self, schema: Json, schema_id: int = 1) -> None:
        self.record = parse(schema)
        self._avro = fastavro_schema(schema)
        self._frame = frame(schema_id)
        self._columns = Rows(self.record)
        self._plain = arrow_struct(self.record, logical=False)

    def read(self, value: bytes) -> pa.RecordBatch:
        """Return the columns of one framed value; they have one row. Raises Malformed or whatever fastavro raises."""
        check(self.record, value)
        return self._columns.of([read_row(value, self._avro)])

    def write(self, columns: pa.RecordBatch) -> list[bytes]:
        """Return the framed values of the rows. Raises whatever fastavro raises."""
        return self.write_rows(self.rows(columns))

    def write_rows(self, rows: list[dict[str, Any]]) -> list[bytes]:
        """Return the framed values of rows, in which times are integers."""
        return [self._write(row) for row in rows]

    def rows(self, columns: pa.RecordBatch) -> list[dict[str, Any]]:
        """Return the rows as fastavro has them, times as integers."""
        plain = columns.to_struct_array().view(self._plain)
        rows: list[dict[str, Any]] = plain.to_pylist(maps_as_pydicts="lossy")  # a key twice: the last
        return rows

    def _write(self, row: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._frame)
        fastavro.schemaless_writer(out, self._avro, row)
        return out.getvalue()


def check(record: Record, value: bytes) -> None:
    """Raise Malformed if the body of a framed value is not exactly one record."""
    walk = _Walk(value)
    walk.walk(record, "")
    if walk.at != len(value):
        raise Malformed(f"{len(value) - walk.at} bytes follow the end of the record", walk.at)


class _Walk:
    def __init__(self, value: bytes) -> None:
        self.value = value
        self.at = FRAME_BYTES

    def walk(self, kind: AvroType, path: str) -> None:
        match kind:
            case Record():
                for name, each in kind.fields:
                    self.walk(each, f"{path}.{name}" if path else name)
            case Nullable():
                if self._place(2, "branch", path) != kind.null_at:
                    self.walk(kind.inner, path)
            case Enum():
                self._place(len(kind.symbols), "symbol", path)
            case Fixed() if kind.decimal:
                self._decimal(self._take(kind.size, path), kind.decimal.precision, path)
            case Fixed():
                self._take(kind.size, path)
            case Array():
                self._blocks(None, kind.items, f"{path}[]")
            case Map():
                self._blocks(Primitive("string"), kind.values, f"{path}{{}}")
            case Primitive():
                self._primitive(kind, path)

    def _primitive(self, kind: Primitive, path: str) -> None:
        begin = self.at
        match kind.name:
            case "int":
                self._integer(path, bits=32)
            case "long":
                self._integer(path)
            case "boolean":
                if (taken := self._take(1, path)[0]) > 1:
                    raise Malformed(f"field {path!r}: a boolean is 0 or 1, this is {taken}", begin)
            case "float":
                self._take(4, path)
            case "double":
                self._take(8, path)
            case "bytes" | "string":
                taken_bytes = self._take(self._integer(path), path)
                if kind.decimal:
                    self._decimal(taken_bytes, kind.decimal.precision, path)
                if kind.name == "string":
                    self._check_text(taken_bytes, path)

    def _blocks(self, key: Primitive | None, item: AvroType, path: str) -> None:
        while True:
            begin = self.at
            count = self._integer(path)
            if count == 0:
                return
            if count < 0:
                count = -count
                if count == 2**63:
                    raise Malformed(f"field {path!r}: a block of {-count} items", begin)
                self._integer(path)  # the size of the block in bytes, for readers that want to skip it
            for _ in range(count):
                if key:
                    self.walk(key, path)
                self.walk(item, path)

    def _place(self, places: int, what: str, path: str) -> int:
        begin = self.at
        place = self._integer(path)
        if not 0 <= place < places:
            raise Malformed(f"field {path!r}: {what} {place} of {places}", begin)
        return place

    def _take(self, count: int, path: str) -> bytes:
        left = len(self.value) - self.at
        if not 0 <= count <= left:
            raise Malformed(f"field {path!r}: needs {count} bytes, {left} are left", self.at)
        self.at += count
        return self.value[self.at - count : self.at]

    def _integer(self, path: str, bits: int = 64) -> int:
        """Read a zigzag varint of at most ten bytes and ``bits`` bits."""
        begin = self.at
        zigzag = shift = 0
        while True:
            byte = self._take(1, path)[0]
            zigzag |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift == 70:
                raise Malformed(f"field {path!r}: a number of more than ten bytes", begin)
        for limit in (64, bits):
            if zigzag >> limit:
                raise Malformed(f"field {path!r}: the number has more than {limit} bits", begin)
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _decimal(self, taken: bytes, precision: int, path: str) -> None:
        if abs(int.from_bytes(taken, "big", signed=True)) >= 10**precision:
            raise Malformed(f"field {path!r}: the decimal has more digits than its type", self.at - len(taken))

    def _check_text(self, taken: bytes, path: str) -> None:
        try:
            taken.decode()
        except UnicodeDecodeError as error:
            at = self.at - len(taken) + error.start
            raise Malformed(f"field {path!r}: not UTF-8: {error.reason}", at) from None
