"""The columns of dead letters: what their headers say, for many letters at once."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from surgetank.header_columns import header_columns
from surgetank.processing.dead_letter import (
    ARRIVED,
    MESSAGE,
    NAMES,
    OFFSET,
    OVERSIZE,
    PARTITION,
    REASON,
    STAGE,
    TIME,
    TOPIC,
)
from surgetank.record_headers import encoded_headers
from surgetank.records import PartitionRecords, byte_lengths

SCHEMA = pa.schema(
    [
        pa.field("partition", pa.int32(), nullable=False),  # of the letter
        pa.field("offset", pa.int64(), nullable=False),
        ("stage", pa.large_string()),  # null, as the following, if the record is no dead letter of a pipeline
        ("reason", pa.large_string()),
        ("message", pa.large_string()),
        ("time", pa.timestamp("ms", "UTC")),
        ("source_topic", pa.large_string()),
        ("source_partition", pa.int64()),
        ("source_offset", pa.int64()),
        ("arrived_ms", pa.int64()),
        pa.field("attempts", pa.int64(), nullable=False),  # how often the event has failed
        pa.field("cut", pa.bool_(), nullable=False),  # whether the value was left out because of its size
        pa.field("bytes", pa.int64(), nullable=False),  # of key, value and headers
        ("key", pa.large_binary()),
    ]
)

_NUMBER = r"^-?[0-9]{1,18}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}\+00:00$"


def letter_columns(records: PartitionRecords) -> pa.RecordBatch:
    """Return n letters of one partition as columns, ``SCHEMA`` with n rows. The last set of headers is valid.

    A record without a complete set is no letter of a pipeline: its stage, reason and source are null.
    """
    headers = encoded_headers(records)
    values, counts = header_columns(headers, (*NAMES, OVERSIZE))
    found = {
        "stage": _texts(values[STAGE]),
        "reason": _texts(values[REASON]),
        "message": _texts(values[MESSAGE]),
        "time": _times(values[TIME]),
        "source_topic": _texts(values[TOPIC]),
        "source_partition": _numbers(values[PARTITION]),
        "source_offset": _numbers(values[OFFSET]),
        "arrived_ms": _numbers(values[ARRIVED]),
    }
    complete = pc.is_valid(found["reason"])
    for column in found.values():
        complete = pc.and_(complete, pc.is_valid(column))
    found = {name: pc.if_else(complete, column, None) for name, column in found.items()}
    given = {
        "partition": np.full(len(records), records.source.partition, dtype=np.int32),
        "offset": records.offsets,
        "attempts": counts[REASON],
        "cut": counts[OVERSIZE] > 0,
        "bytes": byte_lengths(records.keys) + byte_lengths(records.values) + byte_lengths(headers),
        "key": records.keys,
    }
    columns = [
        each if isinstance(each, pa.Array) else pa.array(each) for each in map((given | found).get, SCHEMA.names)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _texts(column: pa.LargeBinaryArray) -> pa.Array:
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid:  # another program may write anything
        texts = [None if value is None else value.decode(errors="replace") for value in column.to_pylist()]
        return pa.array(texts, pa.large_string())


def _numbers(column: pa.LargeBinaryArray) -> pa.Array:
    fits = pc.match_substring_regex(column, _NUMBER)
    return pc.if_else(fits, column, None).cast(pa.large_string()).cast(pa.int64())


def _times(column: pa.LargeBinaryArray) -> pa.Array:
    texts = pc.if_else(pc.match_substring_regex(column, _TIME), column, None).cast(pa.large_string())
    try:
        return texts.cast(pa.timestamp("ms", "UTC"))
    except pa.ArrowInvalid:  # as 31 February
        return pa.array([_time(text) for text in texts], pa.timestamp("ms", "UTC"))


def _time(text: pa.LargeStringScalar) -> object:
    try:
        return text.cast(pa.timestamp("ms", "UTC")).as_py()
    except pa.ArrowInvalid:
        return None
