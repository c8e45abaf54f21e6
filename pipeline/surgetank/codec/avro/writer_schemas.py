"""The protocol of what knows the schemas that the values of a topic were written with."""

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.version_reader import VersionReader
from surgetank.records import DeadLetterReason


class WriterSchemas(Protocol):
    """Finds the reader of each value. For one thread at a time."""

    @property
    def readers(self) -> Sequence[VersionReader]:
        """The readers, one for each schema, which several ids may have."""
        ...

    def reader_numbers(self, values: pa.LargeBinaryArray, bytes_max: int) -> tuple[Int64s, bool]:
        """Return int64 [n]: the number of each value's reader, or a negative number of ``frames``.

        Values of more than ``bytes_max`` bytes are TOO_LARGE, those for whose id there is no reader UNKNOWN_ID. The
        second says whether all numbers are the same.
        """
        ...

    def refusal(self, schema_id: int) -> tuple[DeadLetterReason, str]:
        """Return why values with this id have no reader: the reason and the message of their dead letters."""
        ...
