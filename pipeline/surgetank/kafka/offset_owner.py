"""The metadata of a committed offset: which worker committed it, of which topic, with which tables. Pure.

::

    owner=<transactional id>
    at=<HTTP address>
    topic=<topic id>
    tables=<table>:<fingerprint>,<table>:<fingerprint>
    model=<name of the model>
    version=<version of the model>

Older workers wrote the first lines only. Kafka's own tool and other applications write none of it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from surgetank.records import ModelVersion, TopicPartition

_OWNER, _AT, _TOPIC, _TABLES = "owner=", "at=", "topic=", "tables="
_MODEL, _VERSION = "model=", "version="
_TABLES_CHARACTERS = 2000  # brokers accept 4096 bytes of metadata (offset.metadata.max.bytes)
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class OffsetOwner:
    """The worker that committed an offset: its transactional id and its HTTP address ("": not known).

    ``topic_id`` is the id of the topic whose records the offset counts ("": not known); ``tables`` are the fingerprints
    of the worker's tables as ``short`` returns them, empty if not known. ``model`` is the model that the worker serves,
    None if not known.
    """

    transactional_id: str
    address: str = ""
    topic_id: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    model: ModelVersion | None = None

    def metadata(self) -> str:
        """Return the metadata to commit with an offset. Too many tables for it are left out."""
        lines = [f"{_OWNER}{self.transactional_id}"]
        if self.address or self.topic_id or self.tables:
            lines.append(f"{_AT}{self.address}")
        if self.topic_id:
            lines.append(f"{_TOPIC}{self.topic_id}")
        tables = ",".join(f"{name}:{fingerprint}" for name, fingerprint in sorted(self.tables.items()))
        if tables and len(tables) <= _TABLES_CHARACTERS:
            lines.append(f"{_TABLES}{tables}")
        if self.model is not None:
            lines += [f"{_MODEL}{self.model.name}", f"{_VERSION}{self.model.version}"]
        return "\n".join(lines)

    @classmethod
    def of(cls, metadata: str | None) -> "OffsetOwner | None":
        """Return the owner in the metadata of an offset; None if no worker committed it."""
        if not metadata or not metadata.startswith(_OWNER):
            return None
        lines = metadata.split("\n")
        found = {
            name: line.removeprefix(name)
            for line in lines
            for name in (_AT, _TOPIC, _TABLES, _MODEL, _VERSION)
            if line[: len(name)] == name
        }
        tables = (entry.partition(":") for entry in found.get(_TABLES, "").split(",") if entry)
        return cls(
            lines[0].removeprefix(_OWNER),
            found.get(_AT, ""),
            found.get(_TOPIC, ""),
            {name: fingerprint for name, _, fingerprint in tables},
            ModelVersion(found[_MODEL], found[_VERSION]) if found.keys() >= {_MODEL, _VERSION} else None,
        )


def served_models(
    owners: Mapping[TopicPartition, str], claims: Mapping[TopicPartition, OffsetOwner | None]
) -> dict[TopicPartition, ModelVersion]:
    """Return the model that the owner of each partition serves.

    ``owners`` are the client ids of members of the group, ``claims`` come from the committed offsets. Partitions that
    another worker committed last, as before a rebalance, are left out: the model of their owner is not known yet.
    """
    return {
        source: claim.model
        for source, claim in claims.items()
        if claim is not None and claim.model is not None and claim.transactional_id == owners.get(source)
    }


def short(fingerprint: str) -> str:
    """Return a fingerprint of a table in 12 hex digits."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:_DIGITS]


def other_tables(mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Return the tables that both have with different fingerprints, sorted."""
    return sorted(name for name in mine.keys() & theirs.keys() if mine[name] != theirs[name])
