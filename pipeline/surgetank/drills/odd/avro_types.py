"""Random Avro types of all kinds, each with a function that draws a value of it.

Values are those of the physical type: times are whole numbers, decimals are bytes. Only ``random.Random`` is drawn
from, so that a seed reproduces everything, and a test may pass one that hypothesis controls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

Json = Any
Draw = Callable[[Random], Any]

END_SECONDS = 4_102_444_800  # 2100-01-01
PER_SECOND = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
TIMESTAMPS = tuple(f"{local}timestamp-{unit}" for local in ("", "local-") for unit in PER_SECOND)
DEPTH_MAX = 3

_TEXTS = ("", "a", "N1", "Müller", "日本語", "\0", "a\nb", "😀", " ", "null", "x" * 300)


@dataclass(frozen=True, slots=True)
class OddType:
    """An Avro type as JSON, and a function that draws a value of it."""

    schema: Json
    draw: Draw


class TypeGenerator:
    """Draws types; named types get names that are unique in one generator."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._names = 0

    def number(self) -> OddType:
        """Return a type of numbers or booleans: what the feature ``Field`` reads."""
        return self._random.choice(
            (
                OddType("int", integer(32)),
                OddType("long", integer(64)),
                OddType("float", real(1e38)),
                OddType("double", real(1e300)),
                OddType("boolean", lambda random: random.random() < 0.5),
                OddType({"type": "long", "logicalType": "unheard-of"}, integer(64)),
            )
        )

    def symbol(self, symbols: tuple[str, ...]) -> OddType:
        """Return an enum, or a string that mostly has one of these texts: what the feature ``Category`` reads."""
        if self._random.random() < 0.4:
            return OddType(self._named("enum", symbols=list(symbols)), lambda random: random.choice(symbols))
        return OddType("string", lambda random: random.choice((*symbols, *symbols, *_TEXTS)))

    def timestamp(self) -> OddType:
        """Return a timestamp of any unit, an instant or a local time."""
        logical = self._random.choice(TIMESTAMPS)
        return OddType({"type": "long", "logicalType": logical}, time(PER_SECOND[logical.rpartition("-")[2]]))

    def scalar(self) -> OddType:
        """Return a type that is neither a record nor an array nor a map."""
        random = self._random
        match random.randrange(10):
            case 0:
                return self.number()
            case 1:
                return self.symbol(("A", "B", "C"))
            case 2:
                return self.timestamp()
            case 3:
                return OddType("bytes", lambda random: random.randbytes(random.randrange(12)))
            case 4:
                return self._fixed()
            case 5:
                return self._decimal()
            case 6:
                return OddType({"type": "int", "logicalType": "date"}, integer(32))
            case 7:
                return random.choice(
                    (
                        OddType({"type": "int", "logicalType": "time-millis"}, integer(32)),
                        OddType({"type": "long", "logicalType": "time-micros"}, integer(64)),
                    )
                )
            case 8:
                return OddType({"type": "string", "logicalType": "uuid"}, _uuid)
            case _:
                return OddType("string", text)

    def nested(self, depth: int = 1) -> OddType:
        """Return a record, an array or a map, at ``depth`` of at most ``DEPTH_MAX``."""
        match self._random.randrange(3):
            case 0:
                parts = {f"f{place}": self.any(depth + 1) for place in range(self._random.randrange(1, 4))}
                return OddType(
                    self._named("record", fields=[{"name": name, "type": part.schema} for name, part in parts.items()]),
                    lambda random: {name: part.draw(random) for name, part in parts.items()},
                )
            case 1:
                items = self.any(depth + 1)
                return OddType(
                    {"type": "array", "items": items.schema},
                    lambda random: [items.draw(random) for _ in range(random.randrange(4))],
                )
            case _:
                values = self.any(depth + 1)
                return OddType(
                    {"type": "map", "values": values.schema},
                    lambda random: {text(random): values.draw(random) for _ in range(random.randrange(3))},
                )

    def any(self, depth: int = 1) -> OddType:
        """Return a type of any kind, nullable or not."""
        nest = depth < DEPTH_MAX and self._random.random() < 0.3
        return self.perhaps_nullable(self.nested(depth) if nest else self.scalar())

    def perhaps_nullable(self, kind: OddType, share: float = 0.3) -> OddType:
        """Return the union of null and a type for a share of the calls, else the type."""
        if self._random.random() >= share:
            return kind
        union = ["null", kind.schema] if self._random.random() < 0.8 else [kind.schema, "null"]
        return OddType(union, lambda random: None if random.random() < 0.1 else kind.draw(random))

    def _fixed(self) -> OddType:
        size, logical = self._random.choice(((1, ""), (16, ""), (16, "uuid"), (12, "duration"), (33, "")))
        named = self._named("fixed", size=size, **({"logicalType": logical} if logical else {}))
        return OddType(named, lambda random: random.randbytes(size))

    def _decimal(self) -> OddType:
        precision = self._random.choice((1, 5, 18, 38, 60))
        declared = {"logicalType": "decimal", "precision": precision, "scale": self._random.randrange(precision + 1)}
        bound = 10**precision - 1
        size = (bound.bit_length() + 8) // 8

        def draw(random: Random) -> bytes:
            return random.randint(-bound, bound).to_bytes(size, "big", signed=True)

        if self._random.random() < 0.5:
            return OddType({"type": "bytes", **declared}, draw)
        return OddType(self._named("fixed", size=size, **declared), draw)

    def _named(self, kind: str, **more: Json) -> Json:
        self._names += 1
        return {"type": kind, "name": f"Odd{self._names}", **more}


def text(random: Random) -> str:
    """Draw a text."""
    return f"e{random.getrandbits(48):x}" if random.random() < 0.7 else random.choice(_TEXTS)


def integer(bits: int) -> Draw:
    """Return a function that draws integers of so many bits, mostly small ones."""
    edge = 1 << (bits - 1)

    def draw(random: Random) -> int:
        choice = random.random()
        if choice < 0.7:
            return random.randrange(-1000, 1000)
        return random.choice((-edge, edge - 1, 0, -1)) if choice < 0.8 else random.getrandbits(bits) - edge

    return draw


def real(largest: float) -> Draw:
    """Return a function that draws numbers up to a magnitude, some of them infinite or not a number."""

    def draw(random: Random) -> float:
        choice = random.random()
        if choice < 0.95:
            return random.uniform(-1000, 1000)
        return random.choice((0.0, -0.0, 1e-40, largest, -largest, float("nan"), float("inf"), float("-inf")))

    return draw


def time(per_second: int) -> Draw:
    """Return a function that draws times from 1970 to 2100 in this unit, some of them in another unit or at an edge."""

    def draw(random: Random) -> int:
        seconds, choice = random.randrange(END_SECONDS), random.random()
        if choice < 0.7:
            return seconds * per_second + random.randrange(per_second)
        if choice < 0.95:
            return seconds * random.choice((1, *PER_SECOND.values()))
        return random.choice((0, -1, -(1 << 63), (1 << 63) - 1))

    return draw


def _uuid(random: Random) -> str:
    digits = f"{random.getrandbits(128):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
