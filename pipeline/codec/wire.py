"""What is on the wire: the Confluent frame, and the simplest way to write an Avro body.

Rows that do not decode, or that a lenient library may have misread, are walked through here, strictly, one at a
time.
"""

from pipeline.codec.types import Array, AvroType, Enum, Fixed, Map, Nullable, Primitive, Record

MAGIC = b"\x00"
FRAME_BYTES = 5  # the magic byte and the schema's id


class Malformed(ValueError):  # noqa: N818 - the name is what happened
    """The bytes are not what the schema says; the message names the field."""


def frame(schema_id: int) -> bytes:
    """Return the five bytes that stand before a body written with that schema."""
    return MAGIC + schema_id.to_bytes(FRAME_BYTES - 1, "big")


def canonical(record: Record, value: bytes) -> bytes:
    """Return a framed value in the simplest form: numbers in the least bytes, arrays and maps in one block.

    Other producers may write several blocks, with their sizes, which is as good.
    Raises Malformed where the body is no such record, or where bytes follow it.
    """
    walk = _Walk(value)
    walk.copy(record, "")
    if walk.at != len(value):
        raise Malformed(f"{len(value) - walk.at} bytes follow the end of the record")
    return value[:FRAME_BYTES] + bytes(walk.out)


class _Walk:
    def __init__(self, value: bytes) -> None:
        self.value = value
        self.at = FRAME_BYTES
        self.out = bytearray()

    def copy(self, kind: AvroType, path: str) -> None:
        match kind:
            case Record():
                for name, each in kind.fields:
                    self.copy(each, f"{path}.{name}" if path else name)
            case Nullable():
                branch = self._place(2, "branch", path)
                if branch != kind.null_at:
                    self.copy(kind.inner, path)
            case Enum():
                self._place(len(kind.symbols), "symbol", path)
            case Fixed():
                self.out += self._take(kind.size, path)
            case Array():
                self._blocks(None, kind.items, f"{path}[]")
            case Map():
                self._blocks(Primitive("string"), kind.values, f"{path}{{}}")
            case Primitive():
                self._primitive(kind, path)

    def _primitive(self, kind: Primitive, path: str) -> None:
        match kind.name:
            case "int":
                self._write(self._integer(path, bits=32))
            case "long":
                self._write(self._integer(path))
            case "boolean":
                taken = self._take(1, path)
                if taken[0] > 1:
                    raise Malformed(f"field {path!r}: a boolean is 0 or 1, this is {taken[0]}")
                self.out += taken
            case "float":
                self.out += self._take(4, path)
            case "double":
                self.out += self._take(8, path)
            case "bytes" | "string":
                taken = self._take(self._integer(path), path)
                if kind.name == "string":
                    _check_text(taken, path)
                self._write(len(taken))
                self.out += taken

    def _blocks(self, key: Primitive | None, item: AvroType, path: str) -> None:
        """Copy items as one block. A claimed count costs nothing: each item takes bytes, which run out."""
        before, self.out = self.out, bytearray()
        total = 0
        while count := self._integer(path):
            if count < 0:
                count = -count
                self._integer(path)  # the size of the block in bytes, for readers that want to skip it
            for _ in range(count):
                if key:
                    self.copy(key, path)
                self.copy(item, path)
            total += count
        items, self.out = self.out, before
        if total:
            self._write(total)
            self.out += items
        self._write(0)

    def _place(self, places: int, what: str, path: str) -> int:
        place = self._integer(path)
        if not 0 <= place < places:
            raise Malformed(f"field {path!r}: {what} {place} of {places}")
        self._write(place)
        return place

    def _take(self, count: int, path: str) -> bytes:
        left = len(self.value) - self.at
        if not 0 <= count <= left:
            raise Malformed(f"field {path!r}: needs {count} bytes, {left} are left")
        self.at += count
        return self.value[self.at - count : self.at]

    def _integer(self, path: str, bits: int = 64) -> int:
        """Read a zigzag varint of at most ten bytes. As every Avro library does, drop bits above the 64th."""
        zigzag = shift = 0
        while True:
            byte = self._take(1, path)[0]
            zigzag |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift == 70:
                raise Malformed(f"field {path!r}: a number of more than ten bytes")
        zigzag &= 2**64 - 1
        if zigzag >> bits:
            raise Malformed(f"field {path!r}: the number has more than {bits} bits")
        return (zigzag >> 1) ^ -(zigzag & 1)

    def _write(self, number: int) -> None:
        zigzag = number << 1 if number >= 0 else ~(number << 1)
        while zigzag > 0x7F:
            self.out.append(zigzag & 0x7F | 0x80)
            zigzag >>= 7
        self.out.append(zigzag)


def _check_text(taken: bytes, path: str) -> None:
    try:
        taken.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"field {path!r}: not UTF-8: {error.reason} at byte {error.start}") from None
