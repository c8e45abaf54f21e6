"""Encoders and decoders of record values for drills, by the schemas in ``schemas/``."""

from collections.abc import Callable
from functools import cache

from pipeline.codec.avro import Decoder, Encoder
from pipeline.codec.schema_repository import SchemaRepository
from pipeline.drills.recording import Encode
from pipeline.records import DecodedBatch, RecordBatch

SCORE = "score"

_VALUE_BYTES_MAX = 2**30  # no limit below Kafka's own


def encoder() -> Encode:
    """Return an encoder for rows of any schema. Use it in one thread at a time. Raises SchemaError."""
    contracts = SchemaRepository.load()
    encoder_of = cache(lambda name: Encoder(contracts, name))
    return lambda schema, rows: encoder_of(schema).encode(rows)


def decoder(schema: str) -> Callable[[RecordBatch], DecodedBatch]:
    """Return a decoder for values of a schema, which omits values that do not decode. Raises SchemaError."""
    decode = Decoder(SchemaRepository.load(), schema, value_bytes_max=_VALUE_BYTES_MAX).decode
    return lambda records: decode(records)[0]
