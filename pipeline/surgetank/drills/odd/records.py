"""Random records for the topics of an odd pipeline: valid events and everything else that Kafka accepts, or refuses."""

import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import fastavro

from surgetank.drills.odd.avro_types import END_SECONDS
from surgetank.drills.odd.declaration import ENGINE_IDS, MIB, OddPipeline
from surgetank.drills.odd.schemas import OddSchema
from surgetank.drills.odd.strict_avro import physical

COMPRESSIONS = ("none", "gzip", "snappy", "lz4", "zstd")
SIZED_SHARE = 0.012  # of records whose size is drawn log-uniformly from 0 to that of the pipeline
BACKLOG_PAYLOAD = MIB // 2
POOL = 200  # distinct valid events per schema version
FRAME = 5

_KEYS = (None, None, b"", b"\0meaning", b"\0grown", b"\xff\0\xfe", b"a\nb", "Müller".encode("latin-1"))
_HEADER_NAMES = (
    b"",
    b"a",
    b"trace-id",
    "Größe".encode(),
    b"surgetank.offset",
    b"surgetank.oversize",
    b"\xff",
    b"M\xfcller",
)


@dataclass(frozen=True, slots=True)
class OddRecord:
    """A record to produce. ``time_ms`` is what its producer takes for the time, whatever the unit."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[bytes, bytes | None], ...]
    time_ms: int
    compression: str

    @property
    def size(self) -> int:
        """The bytes of key, value and headers."""
        headers = sum(len(name) + len(value or b"") for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


class _Values:
    """Draws values of one schema's topic."""

    def __init__(self, random: Random, schema: OddSchema) -> None:
        self._random = random
        self._schema = schema
        self._frames = [b"\0" + id_.to_bytes(4, "big") for id_ in schema.ids]
        self._writers = [fastavro.parse_schema(physical(version), named_schemas={}) for version in schema.versions()]
        roles = ("payload", "payload", schema.id, schema.key)
        types = [(name, schema.type_of(name)) for name in roles]
        self._large_fields = [(name, kind == "string") for name, kind in types if kind in ("string", "bytes")]
        self._pool = [self._encoded(version, schema.draw(random)) for version in self._versions() for _ in range(POOL)]

    def draw(self) -> bytes | None:
        """Draw a value: a valid event more often than not."""
        random, choice = self._random, self._random.random()
        if choice < 0.6:
            return random.choice(self._pool)
        if choice < 0.78:
            return self._mutated(random.choice(self._pool))
        if choice < 0.84:
            return random.choice(self._frames) + random.randbytes(random.randrange(60))
        if choice < 0.89:
            return None
        if choice < 0.92:
            return b""
        if choice < 0.95:
            return random.randbytes(random.randrange(60))
        if choice < 0.97:
            return random.choice(self._pool)[: random.randrange(FRAME + 2)]
        return b"\0" + self._unknown_id().to_bytes(4, "big") + random.choice(self._pool)[FRAME:]

    def sized(self, size: int) -> bytes:
        """Return a value of about ``size`` bytes: a valid event with a large payload, id or key, or anything."""
        random = self._random
        match random.randrange(4):
            case 0:
                return bytes(size)
            case 1:
                return random.choice(self._frames) + random.randbytes(size)
            case _:
                event = self._schema.draw(random)
                field, text = random.choice(self._large_fields)
                content = random.randbytes(min(size // 2, MIB)).hex() if text else random.randbytes(min(size, MIB))
                event[field] = (content * math.ceil(size / max(1, len(content))))[:size]
                return self._encoded(len(self._frames) - 1, event)

    def with_payload(self, size: int) -> bytes:
        """Return a valid event with a payload of so many bytes."""
        event = self._schema.draw(self._random)
        event["payload"] = "x" * size if self._schema.type_of("payload") == "string" else bytes(size)
        return self._encoded(len(self._frames) - 1, event)

    def _versions(self) -> range:
        return range(len(self._frames))

    def _encoded(self, version: int, event: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(self._frames[version])
        fastavro.schemaless_writer(out, self._writers[version], event)
        return out.getvalue()

    def _unknown_id(self) -> int:
        return self._random.choice((*ENGINE_IDS, 0, 2**32 - 1, self._schema.ids[-1] + 7))

    def _mutated(self, value: bytes) -> bytes:
        """Return a value after one to three accidents behind its frame."""
        random = self._random
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(FRAME, len(value) + 1) if len(value) >= FRAME else 0
            match random.randrange(5):
                case 0:
                    value = value[:at]
                case 1:
                    value = value[:at] + random.randbytes(random.randrange(1, 12)) + value[at:]
                case 2:
                    value += random.randbytes(random.randrange(1, 20))
                case 3:
                    value = value[:at] + random.choice(self._pool)[at:]
                case _ if at < len(value):
                    value = value[:at] + bytes([value[at] ^ (1 << random.randrange(8))]) + value[at + 1 :]
        return value


def odd_records(odd: OddPipeline, seed: int, count: int, bytes_max: int) -> Iterator[OddRecord]:
    """Yield ``count`` records for the sources of a pipeline; those of drawn size have at most ``bytes_max`` in all.

    A key always goes to the same partition of each topic, as by one partitioner.
    """
    random = Random(f"records/{seed}/{odd.number}")
    schemas = [schema for schema in (odd.events, odd.facts) if schema is not None]
    values = [_Values(random, schema) for schema in schemas]
    keys = [*_KEYS, *(f"k{place}".encode() for place in range(40))]
    for _ in range(count):
        which = random.randrange(len(values)) if random.random() < 0.5 else 0
        key = random.choice(keys) if random.random() < 0.9 else random.randbytes(random.randrange(40))
        value, headers = values[which].draw(), _headers(random)
        if (
            random.random() < SIZED_SHARE
            and (size := round(math.exp(random.uniform(0, math.log(odd.size_max))))) < bytes_max
        ):
            bytes_max -= size
            choice = random.random()
            if choice < 0.8:
                value = values[which].sized(size)
            elif choice < 0.9:
                key = random.randbytes(size)
            else:
                headers = (*headers, (b"large", random.randbytes(size)))
        yield OddRecord(
            topic=odd.sources[which],
            partition=_partition(random, key, odd.partitions),
            key=key,
            value=value,
            headers=headers,
            time_ms=_time(random),
            compression=random.choice(COMPRESSIONS),
        )


def backlog_records(odd: OddPipeline, seed: int) -> Iterator[OddRecord]:
    """Yield the large events of a pipeline with a backlog, not compressed: they have their size wherever they are."""
    random = Random(f"backlog records/{seed}/{odd.number}")
    values = _Values(random, odd.events)
    for _ in range(odd.backlog_bytes // BACKLOG_PAYLOAD):
        key = f"k{random.randrange(40)}".encode()
        partition = _partition(random, key, odd.partitions)
        value = values.with_payload(BACKLOG_PAYLOAD)
        yield OddRecord(odd.events_topic, partition, key, value, (), _time(random), "none")


def _headers(random: Random) -> tuple[tuple[bytes, bytes | None], ...]:
    if random.random() < 0.8:
        return ()
    return tuple(
        (
            random.choice((*_HEADER_NAMES, random.randbytes(5).replace(b"\0", b"\1"))),
            random.choice((None, b"", b"1", random.randbytes(9))),
        )
        for _ in range(random.randrange(1, 4))
    )


def _partition(random: Random, key: bytes | None, partitions: int) -> int:
    return random.randrange(partitions) if key is None else zlib.crc32(key) % partitions


def _time(random: Random) -> int:
    """Draw a time of 1970 to 2100 in seconds, milliseconds or microseconds."""
    return max(1, random.randrange(END_SECONDS) * random.choice((1, 1_000, 1_000, 1_000_000)))
