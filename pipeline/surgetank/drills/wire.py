"""Encoders and decoders of record values for drills, by the schemas of the project."""

from collections.abc import Callable
from functools import cache

import pyarrow as pa

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.drills.recording import Encode
from surgetank.processing.facts import decode_facts
from surgetank.records import DecodedBatch, RecordBatch

SCORE = "score"

_VALUE_BYTES_MAX = 2**30  # no limit below Kafka's own


def encoder() -> Encode:
    """Return an encoder for rows of any schema. Use it in one thread at a time. Raises SchemaError."""
    contracts = project_schemas()
    encoder_of = cache(lambda name: AvroSerializer(contracts, name))

    def encode(schema: str, rows: pa.RecordBatch) -> list[bytes]:
        values: list[bytes] = encoder_of(schema).serialize(rows).to_pylist()
        return values

    return encode


def decoder(schema: str) -> Callable[[RecordBatch], DecodedBatch]:
    """Return a decoder for values of a schema, which omits values that do not decode. Raises SchemaError."""
    deserializer = _deserializer(schema)
    return lambda records: deserializer.deserialize(records)[0]


def fact_decoder(schema: str) -> Callable[[RecordBatch], DecodedBatch]:
    """Do the same for facts, with the tombstones in ``deletes``."""
    deserializer = _deserializer(schema)
    return lambda records: decode_facts(deserializer, records)[0]


def _deserializer(schema: str) -> AvroDeserializer:
    return AvroDeserializer(project_schemas(), schema, value_bytes_max=_VALUE_BYTES_MAX)
