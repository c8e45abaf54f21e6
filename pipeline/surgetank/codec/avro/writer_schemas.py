"""The protocol of what knows the schemas that the values of a topic were written with."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.version_reader import VersionReader
from surgetank.codec.schema_ids import SchemaKey
from surgetank.records import DeadLetterReason


class WriterSchemas(Protocol):
    """Finds the reader of each value. For one thread at a time."""

    @property
    def readers(self) -> Sequence[VersionReader]:
        """The readers, one for each schema, which several ids may have, and each place of the id."""
        ...

    @property
    def in_headers(self) -> bool:
        """Whether the id of a value's schema may be in a header."""
        ...

    def reader_numbers(
        self, values: pa.LargeBinaryArray, headers: pa.LargeBinaryArray | None, bytes_max: int
    ) -> tuple[Int64s, bool]:
        """Return int64 [n]: the number of each value's reader, or a negative number of ``frames``.

        ``headers`` [n] are the schema ids in headers, as of ``id_headers``: a value with one has no frame.
        Values of more than ``bytes_max`` bytes are TOO_LARGE, those for whose id there is no reader UNKNOWN_ID. The
        second says whether all numbers are the same.
        """
        ...

    def refusal(self, schema_id: SchemaKey) -> tuple[DeadLetterReason, str]:
        """Return why values with this id have no reader: the reason and the message of their dead letters."""
        ...
