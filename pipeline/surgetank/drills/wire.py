"""Encoders and decoders of record values for drills: of events as they are declared, and of scores."""

from collections.abc import Callable
from functools import cache

import pyarrow as pa

from surgetank.codec.formats import project_deserializer, project_output_deserializer, serializer_of
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import Events
from surgetank.drills.recording import Encode
from surgetank.processing.facts import decode_facts
from surgetank.records import DecodedBatch, RecordBatch

SCORE = "score"

_VALUE_BYTES_MAX = 2**30  # no limit below Kafka's own


def encoder() -> Encode:
    """Return an encoder for rows of any events. Use it in one thread at a time. Raises SchemaError."""
    contracts = project_schemas()
    encoder_of = cache(lambda events: serializer_of(events, contracts))

    def encode(events: Events, rows: pa.RecordBatch) -> list[bytes]:
        values: list[bytes] = encoder_of(events).serialize(rows).to_pylist()
        return values

    return encode


def decoder(schema: str) -> Callable[[RecordBatch], DecodedBatch]:
    """Return a decoder for what the engine writes, which omits values that do not decode. Raises SchemaError."""
    deserializer = project_output_deserializer(schema, project_schemas(), value_bytes_max=_VALUE_BYTES_MAX)
    return lambda records: deserializer.deserialize(records)[0]


def event_decoder(events: Events) -> Callable[[RecordBatch], DecodedBatch]:
    """Do the same for events."""
    deserializer = project_deserializer(events, project_schemas(), value_bytes_max=_VALUE_BYTES_MAX)
    return lambda records: deserializer.deserialize(records)[0]


def fact_decoder(facts: Events) -> Callable[[RecordBatch], DecodedBatch]:
    """Do the same for facts, with the tombstones in ``deletes``."""
    deserializer = project_deserializer(facts, project_schemas(), value_bytes_max=_VALUE_BYTES_MAX)
    return lambda records: decode_facts(deserializer, records)[0]
