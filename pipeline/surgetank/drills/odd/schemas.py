"""Random schemas of events and facts: fields of any type for key, id, time and features, and more beside them."""

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from surgetank.drills.odd.avro_types import Json, OddType, TypeGenerator, text

ANY_TYPE_SHARE = 0.04  # of key, id and time fields that have any type, most of which cannot be used
_NAMES = (
    "event_id",
    "id",
    "class",
    "key",
    "select",
    "_",
    "K1",
    "order",
    "time",
    "null_",
    "value",
    "from",
    "x",
    "Y",
    "name",
)


@dataclass(frozen=True, slots=True)
class OddSchema:
    """A schema in its versions: the current one has all ``fields``, version 1 of two lacks those of ``added``.

    ``key``, ``id`` and ``time`` are names of fields. ``ids`` are the schema ids, oldest version first.
    """

    name: str
    fields: dict[str, OddType]
    added: frozenset[str]
    ids: tuple[int, ...]
    key: str
    id: str
    time: str

    def versions(self) -> tuple[Json, ...]:
        """Return the versions as Avro JSON, oldest first."""
        old = [self._record(self.fields.keys() - self.added)] if self.added else []
        return (*old, self._record(self.fields.keys()))

    def draw(self, random: Random) -> dict[str, object]:
        """Draw an event with all fields."""
        return {name: kind.draw(random) for name, kind in self.fields.items()}

    def type_of(self, name: str) -> Json:
        """Return the type of a field."""
        return self.fields[name].schema

    def _record(self, names: Collection[str]) -> Json:
        fields = [
            {"name": name, "type": kind.schema} | ({"default": None} if name in self.added else {})
            for name, kind in self.fields.items()
            if name in names
        ]
        return {"type": "record", "name": "Event", "namespace": f"odd.{self.name}", "fields": fields}


def odd_schema(random: Random, name: str, first_id: int) -> OddSchema:
    """Return a random schema whose versions have the ids from ``first_id`` on.

    Beside key, id and time it has numbers, texts and timestamps for features, and fields of any type.
    """
    types = TypeGenerator(random)

    def role(usual: OddType) -> OddType:
        return types.any() if random.random() < ANY_TYPE_SHARE else types.perhaps_nullable(usual, 0.2)

    names = list(random.sample(_NAMES, 3))
    key, id_, time = names
    fields = {
        key: role(random.choice((OddType("string", text), types.scalar()))),
        id_: role(random.choice((OddType("string", text), OddType("string", text), types.scalar()))),
        time: role(types.timestamp()),
    }
    for place in range(random.randrange(1, 5)):
        fields[f"n{place}"] = types.perhaps_nullable(types.number())
    for place in range(random.randrange(3)):
        fields[f"c{place}"] = types.perhaps_nullable(types.symbol(("A", "B", "C", "D")))
    for place in range(random.randrange(3)):
        fields[f"t{place}"] = types.perhaps_nullable(types.timestamp())
    for place in range(random.randrange(4)):
        fields[f"o{place}"] = types.any()
    fields["payload"] = random.choice((OddType("string", text), OddType("bytes", lambda draw: draw.randbytes(8))))
    shuffled = random.sample(sorted(fields), len(fields))
    removable = [
        each
        for each in shuffled
        if each not in names and isinstance(fields[each].schema, list) and fields[each].schema[0] == "null"
    ]
    added = frozenset(removable[:1]) if random.random() < 0.3 else frozenset()
    ids = (first_id, first_id + 1) if added else (first_id,)
    return OddSchema(name, {each: fields[each] for each in shuffled}, added, ids, key, id_, time)
