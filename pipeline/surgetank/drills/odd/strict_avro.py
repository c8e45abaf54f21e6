"""A strict reader of the Avro binary encoding, independent of the engine's codec.

It only decides whether a body is exactly one value of a schema; fastavro, which is lenient, then returns the value.
"""

from collections.abc import Callable
from typing import Any

Json = Any
Walk = Callable[[bytes, int], int]  # from the body and the start of a value to the end of the value

_LONG_BYTES_MAX = 10


class Malformed(ValueError):  # noqa: N818 - the name is what happened
    """A body is not exactly one value of the schema."""


def conforms(schema: Json) -> Callable[[bytes], bool]:
    """Return a function that says whether a body is exactly one value of a schema.

    ``schema`` is valid Avro without recursive types; unions are of null and one other type.
    """
    walk = _Compiler().walk(schema)

    def fits(body: bytes) -> bool:
        try:
            return walk(body, 0) == len(body)
        except Malformed:
            return False

    return fits


def physical(schema: Json) -> Json:
    """Return a schema without its logical types, for fastavro to read and write the physical values."""
    if isinstance(schema, list):
        return [physical(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: value for name, value in schema.items() if name not in {"logicalType", "precision", "scale"}}
    for name in ("type", "items", "values"):
        if name in plain:
            plain[name] = physical(plain[name])
    if "fields" in plain:
        plain["fields"] = [field | {"type": physical(field["type"])} for field in plain["fields"]]
    return plain


class _Compiler:
    """Turns a schema into nested functions, one per type."""

    def __init__(self) -> None:
        self._named: dict[str, Walk] = {}

    def walk(self, schema: Json) -> Walk:
        if isinstance(schema, list):
            return self._union(schema)
        if isinstance(schema, str):
            return _PRIMITIVES.get(schema) or self._named[schema]
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.walk(kind)
        match kind:
            case "record":
                walk = _in_turn([self.walk(field["type"]) for field in schema["fields"]])
            case "enum":
                walk = _index_below(len(schema["symbols"]))
            case "fixed":
                walk = _fixed(schema["size"], schema)
            case "array":
                return _blocks(self.walk(schema["items"]))
            case "map":
                return _blocks(_in_turn([_string, self.walk(schema["values"])]))
            case "bytes":
                return _sized_decimal(schema)
            case _:
                return self.walk(kind)
        self._named[schema["name"]] = walk
        return walk

    def _union(self, branches: list[Json]) -> Walk:
        walks = [self.walk(branch) for branch in branches]
        index = _index_below(len(branches))

        def walk(body: bytes, at: int) -> int:
            after = index(body, at)
            return walks[_long(body, at)[0]](body, after)

        return walk


def _long(body: bytes, at: int, bits: int = 64) -> tuple[int, int]:
    zigzag = shift = 0
    for place in range(at, min(at + _LONG_BYTES_MAX, len(body))):
        byte = body[place]
        zigzag |= (byte & 0x7F) << shift
        if byte < 0x80:
            if zigzag >> bits:
                raise Malformed("a number has too many bits")
            return (zigzag >> 1) ^ -(zigzag & 1), place + 1
        shift += 7
    raise Malformed("a number does not end")


def _number(bits: int) -> Walk:
    return lambda body, at: _long(body, at, bits)[1]


def _within(body: bytes, at: int, size: int) -> int:
    if not 0 <= size <= len(body) - at:
        raise Malformed("bytes are missing")
    return at + size


def _fixed(size: int, schema: Json) -> Walk:
    check = _digits(schema)

    def walk(body: bytes, at: int) -> int:
        end = _within(body, at, size)
        check(body, at, end)
        return end

    return walk


def _sized_decimal(schema: Json) -> Walk:
    check = _digits(schema)

    def walk(body: bytes, at: int) -> int:
        size, at = _long(body, at)
        end = _within(body, at, size)
        check(body, at, end)
        return end

    return walk


def _digits(schema: Json) -> Callable[[bytes, int, int], None]:
    """Return a check that a decimal has no more digits than its precision; other types have no check."""
    if schema.get("logicalType") != "decimal":
        return lambda _, __, ___: None
    limit = 10 ** schema["precision"]

    def check(body: bytes, at: int, end: int) -> None:
        if abs(int.from_bytes(body[at:end], "big", signed=True)) >= limit:
            raise Malformed("a decimal has too many digits")

    return check


def _string(body: bytes, at: int) -> int:
    size, at = _long(body, at)
    end = _within(body, at, size)
    try:
        body[at:end].decode()
    except UnicodeDecodeError:
        raise Malformed("a text is not UTF-8") from None
    return end


def _boolean(body: bytes, at: int) -> int:
    end = _within(body, at, 1)
    if body[at] > 1:
        raise Malformed("a boolean is neither 0 nor 1")
    return end


def _index_below(count: int) -> Walk:
    def walk(body: bytes, at: int) -> int:
        index, after = _long(body, at)
        if not 0 <= index < count:
            raise Malformed("an index is out of range")
        return after

    return walk


def _in_turn(walks: list[Walk]) -> Walk:
    def walk(body: bytes, at: int) -> int:
        for each in walks:
            at = each(body, at)
        return at

    return walk


def _blocks(item: Walk) -> Walk:
    def walk(body: bytes, at: int) -> int:
        while True:
            count, at = _long(body, at)
            if count == 0:
                return at
            if count < 0:
                count = -count
                if count == 1 << 63:
                    raise Malformed("a block has too many items")
                _, at = _long(body, at)  # the size of the block in bytes
            while count:
                at = item(body, at)
                count -= 1

    return walk


_PRIMITIVES: dict[str, Walk] = {
    "null": lambda _, at: at,
    "boolean": _boolean,
    "int": _number(32),
    "long": _number(64),
    "float": lambda body, at: _within(body, at, 4),
    "double": lambda body, at: _within(body, at, 8),
    "bytes": _sized_decimal({}),
    "string": _string,
}
