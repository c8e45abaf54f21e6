"""Hypothesis strategies: a writer's schema, a reader's that can read it, and events of the writer."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

from surgetank.codec.avro.types import Json

INTEGERS = {"int": st.integers(-(2**31), 2**31 - 1), "long": st.integers(-(2**53), 2**53)}
FLOATS = st.floats(allow_nan=False, width=32)
PROMOTED = {"int": ["long", "float", "double"], "long": ["float", "double"], "float": ["double"], "string": ["bytes"]}
SYMBOLS = ["a", "b", "c", "d"]


class Typed(NamedTuple):
    """One type as written and as read, values that a writer may write, and a JSON default of the reader's type."""

    writer: Json
    reader: Json
    values: st.SearchStrategy[Any]
    default: Json


@st.composite
def typed(draw: st.DrawFn, names: Iterator[int], depth: int) -> Typed:
    """Draw a type of the writer and one of the reader into which Avro resolves it."""
    values: st.SearchStrategy[Any]
    writer: Json
    reader: Json
    kinds = ["number", "text", "boolean", "enum", "fixed", "time", "nullable"]
    kind = draw(st.sampled_from(kinds + (["array", "map", "record"] * 2 if depth else [])))
    match kind:
        case "number":
            writer = draw(st.sampled_from(["int", "long", "float", "double"]))
            reader = draw(st.sampled_from([writer, *PROMOTED.get(writer, [])]))
            return Typed(writer, reader, INTEGERS.get(writer, FLOATS), 1)
        case "text":
            writer = draw(st.sampled_from(["string", "bytes"]))
            reader = draw(st.sampled_from([writer, *PROMOTED.get(writer, [])]))
            values = st.text(max_size=4).filter(_is_text) if writer == "string" else st.binary(max_size=4)
            return Typed(writer, reader, values, "é")
        case "boolean":
            return Typed("boolean", "boolean", st.booleans(), True)
        case "enum":
            return draw(_enums(f"E{next(names)}"))
        case "fixed":
            fixed = {"type": "fixed", "name": f"F{next(names)}", "size": 2}
            return Typed(fixed, fixed, st.binary(min_size=2, max_size=2), "é1")
        case "time":
            instant = {"type": "long", "logicalType": "timestamp-millis"}
            return Typed(instant, instant, st.integers(0, 2**40), 5)
        case "nullable":
            inner = draw(typed(names, depth).filter(lambda each: not isinstance(each.reader, list)))
            reader = draw(st.sampled_from([[inner.reader, "null"], ["null", inner.reader]]))
            writer, values = inner.writer, inner.values
            if draw(st.booleans()):
                writer, values = draw(st.permutations(["null", inner.writer])), st.none() | inner.values
            return Typed(writer, reader, values, None if reader[0] == "null" else inner.default)
        case "array":
            inner = draw(typed(names, depth - 1))
            array = {"type": "array", "items": inner.writer}
            return Typed(array, {"type": "array", "items": inner.reader}, st.lists(inner.values, max_size=3), [])
        case "map":
            inner = draw(typed(names, depth - 1))
            values = st.dictionaries(st.sampled_from("xyz"), inner.values, max_size=3)
            written = {"type": "map", "values": inner.writer}
            return Typed(written, {"type": "map", "values": inner.reader}, values, {})
        case _:
            return draw(records(names, depth - 1, f"R{next(names)}"))


@st.composite
def _enums(draw: st.DrawFn, name: str) -> Typed:
    written = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True))
    read = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, unique=True))
    reader = {"type": "enum", "name": name, "symbols": read, "default": read[0]}
    if set(written) <= set(read) and draw(st.booleans()):
        del reader["default"]
    return Typed({"type": "enum", "name": name, "symbols": written}, reader, st.sampled_from(written), read[0])


@st.composite
def records(draw: st.DrawFn, names: Iterator[int], depth: int, name: str) -> Typed:
    """Draw a record whose fields were added, removed, renamed, retyped and re-ordered since it was written."""
    writer: list[Json] = []
    reader: list[Json] = []
    values: dict[str, Any] = {}
    default: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 4))):
        field, found = f"f{number}", draw(typed(names, depth))
        fate = draw(st.sampled_from(["kept", "kept", "renamed", "removed", "added"]))
        if fate != "added":
            writer.append({"name": field, "type": found.writer})
            values[field] = found.values
        if fate == "renamed":
            reader.append({"name": f"new_{field}", "aliases": ["other", field], "type": found.reader})
            default[f"new_{field}"] = found.default
        elif fate != "removed":
            reader.append({"name": field, "type": found.reader})
            default[field] = found.default
        if fate == "added":
            reader[-1]["default"] = found.default
    for fields, made in ((writer, values), (reader, default)):
        if not fields:
            fields.append({"name": "only", "type": "int", "default": 7})
            made["only"] = INTEGERS["int"] if made is values else 7
    return Typed(
        {"type": "record", "name": name, "fields": writer},
        {"type": "record", "name": name, "fields": draw(st.permutations(reader))},
        st.fixed_dictionaries(values),
        default,
    )


@st.composite
def pairs_with_events(draw: st.DrawFn) -> tuple[Json, Json, list[dict[str, Any]]]:
    """Draw a writer's schema, a reader's, and events of the writer."""
    found = draw(records(itertools.count(), 2, "Event"))
    return found.writer, found.reader, draw(st.lists(found.values, min_size=1, max_size=5))


def _is_text(text: str) -> bool:
    return text.isprintable()
