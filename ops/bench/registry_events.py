"""Compares decoding with a schema registry to decoding without: ``python -m ops.bench.registry_events``.

CPU time per event in this process, in turns; the median of the rounds. With a registry it includes the question of the
queues which records can be decoded. The flights at boarding, by one writer schema, and by five mixed at random.
"""

import argparse
import io
import json
import random
import statistics
import time
from collections.abc import Callable

import fastavro
import numpy as np

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.registered_schemas import RegisteredSchemas
from surgetank.codec.avro.types import Json
from surgetank.codec.schema_ids import RegisteredSchema, SchemaKey
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.wire import FRAME_BYTES, frame
from surgetank.drills.wire import encoder
from surgetank.records import RecordBatch, TopicPartition, large_binary
from topology.recordings.flights import recording

BATCH_ROWS = 4096
BATCHES = 10
VALUE_BYTES_MAX = 1 << 20
SCHEMA = "boarding"


class KnownIds:
    """A registry all of whose ids are known."""

    def __init__(self, schemas: dict[int, Json]) -> None:
        self._schemas: dict[SchemaKey, RegisteredSchema] = {
            number: RegisteredSchema("AVRO", json.dumps(each)) for number, each in schemas.items()
        }

    def ask(self, ids: list[SchemaKey]) -> None:
        """Do nothing."""

    def resolve(self, ids: list[SchemaKey], timeout: float) -> None:
        """Do nothing."""

    def schema(self, number: SchemaKey) -> RegisteredSchema | None:
        """Return the schema of an id."""
        return self._schemas.get(number)

    def is_denied(self, number: SchemaKey) -> bool:
        """Return whether there is no such id."""
        return number not in self._schemas

    def disputed(self) -> list[SchemaKey]:
        """Return none."""
        return []


def writers() -> dict[int, Json]:
    """Return today's schema and four others that can be read as it: fewer, more, narrower, re-ordered fields."""
    today = project_schemas().schema(SCHEMA)
    fields = today["fields"]
    more = {"name": "gate", "type": ["null", "string"], "default": None}
    required = [{"name": "tailnum", "type": "string"} if each["name"] == "tailnum" else each for each in fields]
    return {
        101: today,
        102: today | {"fields": [each for each in fields if each["name"] != "tailnum"]},
        103: today | {"fields": [*fields, more]},
        104: today | {"fields": required},
        105: today | {"fields": [more, *reversed(fields)]},
    }


def values(count: int) -> list[bytes]:
    """Return the first flights, as they are written without a registry."""
    found: list[bytes] = []
    for chunk in recording().only(SCHEMA).chunks(encoder(), count=count):
        found += chunk.values
    return found


def batches(encoded: list[bytes]) -> list[RecordBatch]:
    """Return the events in batches."""
    zeros = np.zeros(BATCH_ROWS, dtype=np.int64)
    return [
        RecordBatch(
            (TopicPartition("events", 0),),
            zeros.astype(np.int32),
            np.arange(BATCH_ROWS),
            zeros,
            large_binary([None] * BATCH_ROWS),
            large_binary(encoded[at : at + BATCH_ROWS]),
        )
        for at in range(0, len(encoded), BATCH_ROWS)
    ]


def rewritten(encoded: list[bytes]) -> list[bytes]:
    """Return the events as five writers wrote them, at random."""
    schemas = {number: fastavro.parse_schema(each, named_schemas={}) for number, each in writers().items()}
    drawn = random.Random(1)
    found = []
    for value in encoded:
        row = fastavro.schemaless_reader(io.BytesIO(value[FRAME_BYTES:]), schemas[101], None)
        out, number = io.BytesIO(), drawn.choice(list(schemas))
        fastavro.schemaless_writer(out, schemas[number], row | {"gate": None, "tailnum": row["tailnum"] or ""})
        found.append(frame(number) + out.getvalue())
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    contracts = project_schemas()
    registered = RegisteredSchemas(KnownIds(writers()), contracts.current(SCHEMA))
    without = AvroDeserializer(contracts, SCHEMA, value_bytes_max=VALUE_BYTES_MAX)
    with_registry = AvroDeserializer(contracts, SCHEMA, value_bytes_max=VALUE_BYTES_MAX, writers=registered)

    def gated(batch: RecordBatch) -> int:
        rows, _ = registered.ready_rows(batch.values, None, VALUE_BYTES_MAX)
        assert rows == BATCH_ROWS
        return len(with_registry.deserialize(batch)[0])

    plain = values(BATCHES * BATCH_ROWS)
    jobs: dict[str, tuple[list[RecordBatch], Callable[[RecordBatch], int]]] = {
        "without": (batches(plain), lambda batch: len(without.deserialize(batch)[0])),
        "one writer": (batches([frame(101) + each[FRAME_BYTES:] for each in plain]), gated),
        "five writers": (batches(rewritten(plain)), gated),
    }
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + 1):
        for name, (records, decode) in jobs.items():
            began = time.process_time_ns()
            for batch in records:
                assert decode(batch) == BATCH_ROWS
            if number:  # the first round sizes the buffers
                found[name].append((time.process_time_ns() - began) / (BATCHES * BATCH_ROWS))
    for name, each in found.items():
        print(f"{name}: {statistics.median(each):.0f} ns of CPU per event ({min(each):.0f} to {max(each):.0f})")


if __name__ == "__main__":
    main()
