"""The writer schemas of a topic without a schema registry: every version in the project's folder, by its id there."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from surgetank.codec import base
from surgetank.codec.avro.frames import reader_numbers
from surgetank.codec.avro.program import Int64s
from surgetank.codec.avro.version_reader import VersionReader
from surgetank.codec.schema_ids import SchemaKey
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.records import DeadLetterReason


class LocalSchemas:
    """The ``WriterSchemas`` of the schema ``name``. Raises SchemaError if there is no such schema.

    ``also`` are further schemas of values on the topic, whose versions can be resolved to ``name``.
    """

    in_headers = False

    def __init__(self, contracts: SchemaRepository, name: str, also: Sequence[str] = ()) -> None:
        current = contracts.current(name)
        versions = [version for each in (name, *also) for version in reversed(contracts.versions[each])]
        self.readers = [VersionReader(version, current) for version in versions]  # the current version first
        self._name = name
        self._ids = np.array([version.id for version in versions], dtype=np.int64)
        self._numbers = np.arange(len(versions), dtype=np.int64)

    def reader_numbers(
        self,
        values: pa.LargeBinaryArray,
        headers: pa.LargeBinaryArray | None,  # noqa: ARG002 - the ids of this project are in values
        bytes_max: int,
    ) -> tuple[Int64s, bool]:
        """Return int64 [n], as ``WriterSchemas`` says, and whether all numbers are the same."""
        return reader_numbers(values, self._ids, self._numbers, bytes_max)

    def refusal(self, schema_id: SchemaKey) -> tuple[DeadLetterReason, str]:
        """Return the reason and the message of an unknown id."""
        known = ", ".join(str(each) for each in sorted(self._ids.tolist()))
        return base.UNKNOWN_SCHEMA, f"schema id {schema_id}; those of {self._name!r}: {known}"
