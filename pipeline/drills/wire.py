"""Values in and out for the drills, by the contracts of ``schemas/``."""

from collections.abc import Callable
from functools import cache

import pyarrow as pa

from pipeline.codec.avro import Decoder, Encoder
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.drills.recording import Encode
from pipeline.records import DecodedBatch, RecordBatch

SCORE = "score"

_VALUE_BYTES_MAX = 2**30  # whatever Kafka took, a drill looks at


def encoder() -> Encode:
    """Return what encodes rows of any schema. Use it in one thread at a time. Raises SchemaError."""
    contracts = SchemaRepository.load()
    encoder_of = cache(lambda name: Encoder(contracts, name))

    def encode(schema: str, rows: pa.RecordBatch) -> list[bytes]:
        return encoder_of(schema).encode(rows)

    return encode


def decoder(schema: str) -> Callable[[RecordBatch], DecodedBatch]:
    """Return what decodes values of a schema and leaves out those that are none. Raises SchemaError."""
    decode = Decoder(SchemaRepository.load(), schema, value_bytes_max=_VALUE_BYTES_MAX).decode
    return lambda records: decode(records)[0]
