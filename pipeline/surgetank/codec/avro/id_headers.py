"""Schema ids in the headers of records, where Confluent's newer serializers put them; the value is the body alone.

The header holds a byte of 0 and an id, four bytes, big-endian; or a byte of 1 and a GUID, sixteen bytes.
"""

from uuid import UUID

import pyarrow as pa

from surgetank.codec.schema_ids import SchemaKey
from surgetank.header_columns import header_columns
from surgetank.record_headers import encoded_headers
from surgetank.records import PartitionRecords, RecordBatch, no_headers

NAME = "__value_schema_id"
_SIZES = {0: 5, 1: 17}  # by the first byte


def id_headers(records: PartitionRecords | RecordBatch) -> pa.LargeBinaryArray | None:
    """Return of n records the last header with the id of the value's schema, null where there is none.

    None if no record has one.
    """
    if records.headers_of is no_headers:
        return None
    columns, _ = header_columns(encoded_headers(records), [NAME])
    found: pa.LargeBinaryArray = columns[NAME]
    return None if found.null_count == len(found) else found


def key_in(header: bytes) -> SchemaKey | None:
    """Return the id or the GUID in a header; None if it holds neither."""
    if not header or _SIZES.get(header[0]) != len(header):
        return None
    return UUID(bytes=header[1:]) if header[0] else int.from_bytes(header[1:], "big")
