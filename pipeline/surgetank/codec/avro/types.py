"""Avro schemas as a small tree that describes the wire format and the Arrow columns."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa

from surgetank.errors import SchemaError

Json: TypeAlias = Any

_PLAIN = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
# An instant has a zone, a local time has none. An unlisted logical type is read as its underlying type.
_LOGICAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
    ("string", "uuid"): pa.string(),
}
_DECIMAL128_DIGITS_MAX = 38
_DECIMAL_DIGITS_MAX = 76
# Bounds of a schema with its named types inserted wherever they are used: code and columns are made of each type.
_LEVELS_MAX = 64
_TYPES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Decimal:
    """The number of all digits, and of those after the decimal point."""

    precision: int
    scale: int


@dataclass(frozen=True, slots=True)
class Primitive:
    """One of Avro's eight primitive types, and its logical type, if any; ``connect_name`` is what Connect calls it."""

    name: str
    logical: str | None = None
    decimal: Decimal | None = None
    connect_name: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Enum:
    """One of several texts, encoded as its index. ``default`` stands for a writer's symbol that a reader lacks."""

    symbols: tuple[str, ...]
    default: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A fixed number of bytes."""

    size: int
    logical: str | None = None
    decimal: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Array:
    """Any number of items, in blocks."""

    items: "AvroType"


@dataclass(frozen=True, slots=True)
class Map:
    """Any number of values with text keys, in blocks."""

    values: "AvroType"


@dataclass(frozen=True, slots=True)
class Nullable:
    """The union of null and one other type; null is branch ``null_at``, 0 or 1."""

    inner: "AvroType"
    null_at: int


@dataclass(frozen=True, slots=True)
class FieldRule:
    """How a reader finds a field in what a writer wrote: other names, and the JSON default if ``has_default``."""

    aliases: tuple[str, ...] = ()
    default: Json = None
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields, in wire order; ``rules`` has one entry a field, or none, and does not count for equality."""

    fields: tuple[tuple[str, "AvroType"], ...]
    rules: tuple[FieldRule, ...] = field(default=(), compare=False)


AvroType: TypeAlias = Primitive | Enum | Fixed | Array | Map | Nullable | Record


def parse(schema: Json) -> Record:
    """Return the tree of a schema that an Avro library accepts, with named types resolved.

    Raises SchemaError, which names the field, for a type that has no column form, and for types that are nested more
    than 64 levels deep or are more than 10,000, counted wherever they are used.
    """
    tree = _Parser().parse(schema, "", "")
    if not isinstance(tree, Record):
        raise SchemaError("the top level must be a record: each of its fields becomes a column")
    return tree


def arrow_schema(record: Record) -> pa.Schema:
    """Return the columns of a record; only unions with null are nullable."""
    return pa.schema([_arrow_field(name, kind, logical=True) for name, kind in record.fields])


def arrow_struct(record: Record, *, logical: bool) -> pa.DataType:
    """Return the record as one struct; not ``logical``: times as the integers of the wire format."""
    return pa.struct([_arrow_field(name, kind, logical=logical) for name, kind in record.fields])


def without_null(kind: AvroType) -> AvroType:
    """Return the non-null type of a nullable type; any other type unchanged."""
    return kind.inner if isinstance(kind, Nullable) else kind


def plain_type(kind: Primitive) -> pa.DataType:
    """Return the Arrow type of a primitive type without its logical type."""
    return _PLAIN[kind.name]


def _arrow_field(name: str, kind: AvroType, *, logical: bool, absent: bool = False) -> pa.Field:
    """Return an Arrow field; ``absent``: the enclosing record may be null, so each of its fields may be null too."""
    absent = absent or isinstance(kind, Nullable)
    return pa.field(name, _arrow_type(kind, logical=logical, absent=absent), absent or kind == Primitive("null"))


def _arrow_type(kind: AvroType, *, logical: bool, absent: bool = False) -> pa.DataType:
    match kind:
        case Primitive() | Fixed() if kind.decimal:
            of = pa.decimal128 if kind.decimal.precision <= _DECIMAL128_DIGITS_MAX else pa.decimal256
            return of(kind.decimal.precision, kind.decimal.scale)
        case Primitive():
            plain = _PLAIN[kind.name]
            return _LOGICAL.get((kind.name, kind.logical or ""), plain) if logical else plain
        case Enum():
            return pa.string()
        case Fixed():
            return pa.binary(kind.size)
        case Array():
            return pa.list_(_arrow_field("item", kind.items, logical=logical))
        case Map():
            return pa.map_(pa.string(), _arrow_field("value", kind.values, logical=logical))
        case Nullable():
            return _arrow_type(kind.inner, logical=logical, absent=absent)
        case Record():
            return pa.struct([_arrow_field(name, each, logical=logical, absent=absent) for name, each in kind.fields])


class _Parser:
    """Walks a schema once and collects its named types."""

    def __init__(self) -> None:
        self._named: dict[str, AvroType | None] = {}
        self._sizes: dict[int, tuple[int, int]] = {}  # levels and types of each parsed type, by its id
        self._parsed: list[AvroType] = []  # keeps the ids unique

    def parse(self, schema: Json, namespace: str, path: str) -> AvroType:
        """Return the type of a schema. Raises SchemaError if it is too large."""
        kind = self._type(schema, namespace, path)
        if id(kind) not in self._sizes:
            parts = [self._sizes[id(part)] for part in _parts(kind)]
            levels = 1 + max((levels for levels, _ in parts), default=0)
            types = 1 + sum(types for _, types in parts)
            if levels > _LEVELS_MAX:
                raise SchemaError(
                    f"field {path!r}: its types are nested more than {_LEVELS_MAX} levels deep; flatten it"
                )
            if types > _TYPES_MAX:
                raise SchemaError(
                    f"field {path!r} has more than {_TYPES_MAX} fields and items, counted wherever a named type is used"
                )
            self._sizes[id(kind)] = levels, types
            self._parsed.append(kind)
        return kind

    def _type(self, schema: Json, namespace: str, path: str) -> AvroType:
        if isinstance(schema, list):
            return self._union(schema, namespace, path)
        if isinstance(schema, str):
            return Primitive(schema) if schema in _PLAIN else self._reference(schema, namespace, path)
        kind = schema["type"]
        if not isinstance(kind, str):
            return self._type(kind, namespace, path)
        match kind:
            case "array":
                items = self.parse(schema["items"], namespace, f"{path}[]")
                if _takes_no_bytes(items):
                    raise SchemaError(
                        f"field {path!r}: the items of an array take no bytes, so that a few bytes could claim "
                        "any number of them; use a count instead"
                    )
                return Array(items)
            case "map":
                return Map(self.parse(schema["values"], namespace, f"{path}{{}}"))
            case "record" | "enum" | "fixed":
                return self._define(schema, namespace, path)
            case _ if kind in _PLAIN:
                logical = schema.get("logicalType")
                if kind == "bytes" and logical == "decimal":
                    return Primitive(kind, logical, _decimal(schema, path))
                known = logical if (kind, logical) in _LOGICAL else None
                return Primitive(kind, known, connect_name=str(schema.get("connect.name", "")))
            case _:
                return self._reference(kind, namespace, path)

    def _union(self, branches: list[Json], namespace: str, path: str) -> Nullable:
        others = [branch for branch in branches if branch not in ("null", {"type": "null"})]
        if len(branches) != 2 or len(others) != 1:
            raise SchemaError(
                f"field {path!r}: a union can be of null and one other type, for a column has one type; "
                "use a record with nullable fields instead"
            )
        return Nullable(self.parse(others[0], namespace, path), 1 if branches[0] is others[0] else 0)

    def _define(self, schema: Json, namespace: str, path: str) -> AvroType:
        name, namespace = _full_name(schema["name"], schema.get("namespace", namespace))
        self._named[name] = None  # being defined: a reference to it now is recursive
        defined: AvroType
        if schema["type"] == "enum":
            defined = Enum(tuple(schema["symbols"]), schema.get("default"))
        elif schema["type"] == "fixed":
            decimal = _decimal(schema, path) if schema.get("logicalType") == "decimal" else None
            defined = Fixed(schema["size"], None, decimal)
        else:
            fields = schema["fields"]
            if not fields:
                raise SchemaError(f"record {name!r} has no fields, so there is nothing to make columns of")
            names = [each["name"] for each in fields]
            if len(set(names)) < len(names):
                twice = next(each for each in names if names.count(each) > 1)
                raise SchemaError(f"record {name!r} has the field {twice!r} twice")
            prefix = f"{path}." if path else ""
            defined = Record(
                tuple((each["name"], self.parse(each["type"], namespace, prefix + each["name"])) for each in fields),
                tuple(
                    FieldRule(tuple(each.get("aliases", ())), each.get("default"), "default" in each) for each in fields
                ),
            )
        self._named[name] = defined
        return defined

    def _reference(self, name: str, namespace: str, path: str) -> AvroType:
        full, _ = _full_name(name, namespace)
        known = self._named.get(full, self._named.get(name))
        if known is None:
            raise SchemaError(f"field {path!r}: {name!r} contains itself, which columns cannot")
        return known


def _parts(kind: AvroType) -> tuple[AvroType, ...]:
    """Return the types that a type directly consists of."""
    match kind:
        case Array():
            return (kind.items,)
        case Map():
            return (kind.values,)
        case Nullable():
            return (kind.inner,)
        case Record():
            return tuple(each for _, each in kind.fields)
        case _:
            return ()


def _full_name(name: str, namespace: str) -> tuple[str, str]:
    """Return the full name, and the namespace that applies inside it."""
    if "." in name:
        return name, name.rpartition(".")[0]
    return (f"{namespace}.{name}" if namespace else name), namespace


def _decimal(schema: Json, path: str) -> Decimal:
    decimal = Decimal(schema.get("precision", 0), schema.get("scale", 0))
    if not 0 < decimal.precision <= _DECIMAL_DIGITS_MAX:
        raise SchemaError(
            f"field {path!r}: a decimal of {decimal.precision} digits; columns have 1 to {_DECIMAL_DIGITS_MAX}"
        )
    return decimal


def _takes_no_bytes(kind: AvroType) -> bool:
    match kind:
        case Primitive():
            return kind.name == "null"
        case Fixed():
            return kind.size == 0
        case Record():
            return all(_takes_no_bytes(each) for _, each in kind.fields)
        case _:
            return False
