"""Holds records back until the schemas that they were written with are known."""

from collections.abc import Callable, Mapping
from typing import Protocol

from surgetank.codec.avro.id_headers import id_headers
from surgetank.codec.registered_ids import RegisteredIds
from surgetank.codec.schema_ids import SchemaKey
from surgetank.records import PartitionRecords, TopicPartition


class WatchedLookup(Protocol):
    """Looks schemas up, and says what became of it."""

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call a function, in another thread, after each change."""
        ...

    def why_waiting(self, ids: set[SchemaKey]) -> str:
        """Return why events of some ids wait, for people; empty if none of them waits."""
        ...


class RegisteredSchemaGate:
    """Knows which records can be decoded. ``topics`` are those whose values have ids of a registry.

    Call ``ready_rows`` in the thread that decodes; values of more than ``value_bytes_max`` bytes are not decoded.
    """

    def __init__(self, lookup: WatchedLookup, topics: Mapping[str, RegisteredIds], value_bytes_max: int) -> None:
        self._lookup = lookup
        self._topics = topics
        self._value_bytes_max = value_bytes_max
        self._waiting: dict[TopicPartition, list[SchemaKey]] = {}  # replaced, never changed: other threads read it

    def ready_rows(self, records: PartitionRecords) -> int:
        """Return how many of the first records can be decoded now; look the schemas of the others up."""
        schemas = self._topics.get(records.source.topic)
        if schemas is None:
            return len(records)
        rows, ids = schemas.ready_rows(records.values, id_headers(records), self._value_bytes_max)
        if ids != self._waiting.get(records.source, []):
            others = {source: each for source, each in self._waiting.items() if source != records.source}
            self._waiting = others | ({records.source: ids} if ids else {})
        return rows

    def why_waiting(self) -> str:
        """Return why records wait, for people."""
        return self._lookup.why_waiting({number for ids in self._waiting.values() for number in ids})

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call a function, in another thread, whenever more records may be ready."""
        self._lookup.watch(call)
