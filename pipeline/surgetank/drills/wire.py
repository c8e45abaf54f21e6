"""Encoders and decoders of record values for drills: of events as they are declared, and of scores."""

from collections.abc import Callable
from functools import cache

import pyarrow as pa

from surgetank.codec.base import Deserializer
from surgetank.codec.formats import project_deserializer, project_output_deserializer, serializer_of
from surgetank.codec.schema_repository import project_schemas
from surgetank.codec.score_schema import project_score_deserializer
from surgetank.declaration import Events, Pipeline
from surgetank.drills.recording import Encode
from surgetank.processing.event_filter import filter_events, filtering
from surgetank.processing.facts import decode_facts
from surgetank.processing.key_comparison import without_mismatches
from surgetank.records import DecodedBatch, RecordBatch

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


def score_decoder(pipeline: Pipeline) -> Callable[[RecordBatch], DecodedBatch]:
    """Do the same for the scores of a pipeline, with the fields that it passes on."""
    deserializer = project_score_deserializer(project_schemas(), pipeline, value_bytes_max=_VALUE_BYTES_MAX)
    return lambda records: deserializer.deserialize(records)[0]


def event_decoder(events: Events) -> Callable[[RecordBatch], DecodedBatch]:
    """Do the same for events; ``filtered`` are those that ``events.only`` leaves out."""
    deserializer = _deserializer(events)
    return lambda records: deserializer.deserialize(records)[0]


def fact_decoder(facts: Events) -> Callable[[RecordBatch], DecodedBatch]:
    """Do the same for facts, with the tombstones in ``deletes``."""
    deserializer = _deserializer(facts)
    return lambda records: decode_facts(deserializer, records)[0]


def filtered_counter(pipeline: Pipeline) -> Callable[[RecordBatch], int]:
    """Return a function that counts the events that get no score because a condition of the declaration filters them.

    Without a condition it decodes nothing. Use it in one thread at a time.
    """
    score_only = pipeline.score_only
    if pipeline.events.only is None and score_only is None:
        return lambda _: 0
    decode = event_decoder(pipeline.events)

    def count(records: RecordBatch) -> int:
        batch = decode(records)
        if score_only is not None:
            batch, _ = filter_events(without_mismatches(batch, pipeline.events), score_only)
        return len(batch.filtered)

    return count


def _deserializer(events: Events) -> Deserializer:
    decoder = project_deserializer(events, project_schemas(), value_bytes_max=_VALUE_BYTES_MAX)
    return filtering(decoder, events.only)
