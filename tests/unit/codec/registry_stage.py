"""A registry's stub, and what a worker makes of it: for tests of events with ids of a schema registry."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from surgetank.clock import SystemClock
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.registered_schemas import RegisteredSchemas
from surgetank.codec.schema_gate import RegisteredSchemaGate
from surgetank.codec.schema_id_cache import SchemaIdCache
from surgetank.codec.schema_lookup import SchemaLookup
from surgetank.codec.schema_registry import SchemaRegistry
from surgetank.records import Headers, PartitionRecords, TopicPartition, no_headers
from surgetank.settings import SchemaRegistrySettings
from tests.support.registry_stub import RegistryStub
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, records_of, written

READER = record(("id", "int"), {"name": "new", "type": "string", "default": "-"})
OLDER = record(("id", "int"), ("gone", "double"))
SECONDS = 20.0


class RegistryStage:
    """A stub, and what a worker makes of it: the schemas of one topic, its decoder and its gate."""

    def __init__(self, stub: RegistryStub, folder: Path, cache: bool = True, **settings: Any) -> None:
        self.settings = SchemaRegistrySettings(url=stub.url, **({"not_found_seconds": 0.0} | settings))
        self.cache = SchemaIdCache(folder / "state", stub.url) if cache else None
        self.lookup = SchemaLookup(self.settings, SchemaRegistry(self.settings), self.cache, SystemClock())
        contracts = contracts_of(folder / "schemas", READER)
        self.schemas = RegisteredSchemas(self.lookup, contracts.current("event"))
        self.decoder = AvroDeserializer(contracts, "event", value_bytes_max=BYTES_MAX, writers=self.schemas)
        self.gate = RegisteredSchemaGate(self.lookup, {"events": self.schemas}, BYTES_MAX)
        self._changed = threading.Condition()
        self.gate.when_changed(self._wake)

    def ready(self, values: Sequence[bytes | None], headers: Sequence[Headers] = ()) -> int:
        """Return how many of the first values are ready."""
        return self.gate.ready_rows(records_with(values, headers))

    def wait(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened that a lookup brings about."""
        with self._changed:
            assert self._changed.wait_for(happened, SECONDS), self.gate.why_waiting()

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Wait until something has happened that changes nothing for the gate."""
        with self._changed:
            for _ in range(int(SECONDS / 0.02)):
                if happened():
                    return
                self._changed.wait(0.02)
        raise AssertionError(self.gate.why_waiting())

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def records_with(values: Sequence[bytes | None], headers: Sequence[Headers] = ()) -> PartitionRecords:
    """Return records with these values and headers, none if none are given."""
    records = records_of(values)
    return PartitionRecords(
        TopicPartition("events", 0),
        len(values),
        records.offsets,
        records.arrived_ms,
        records.keys,
        records.values,
        headers.__getitem__ if headers else no_headers,
    )


def event(number: int, schema_id: int) -> bytes:
    """Return an event, as the schema of the id has it."""
    rest = {"new": "n"} if schema_id == 1 else {"gone": 0.5}
    return written(READER if schema_id == 1 else OLDER, {"id": number} | rest, schema_id)
