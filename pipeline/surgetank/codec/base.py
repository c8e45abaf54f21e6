"""The protocols of a wire format: records to columns and back, in whole batches."""

from typing import Protocol

import pyarrow as pa

from surgetank.errors import SurgetankError
from surgetank.records import DeadLetter, DeadLetterReason, DecodedBatch, RecordBatch, Step

NULL_VALUE = DeadLetterReason(Step.DECODE, "null_value", "the value is null, a tombstone")
EMPTY = DeadLetterReason(Step.DECODE, "empty", "the value has no bytes")
VALUE_TOO_LARGE = DeadLetterReason(Step.DECODE, "too_large", "the value exceeds `dead_letters.value_bytes_max`")
NOT_FRAMED = DeadLetterReason(Step.DECODE, "not_framed", "the value does not start with the Confluent frame")
NOT_JSON = DeadLetterReason(Step.DECODE, "not_json", "the value is not JSON in UTF-8, or is nested too deeply")
UNKNOWN_SCHEMA = DeadLetterReason(
    Step.DECODE, "unknown_schema", "`schemas/`, or the schema registry, has no such schema id for this topic"
)
INCOMPATIBLE_SCHEMA = DeadLetterReason(
    Step.DECODE, "incompatible_schema", "the registry's schema of the value cannot be read as that in `schemas/`"
)
UNDECODABLE = DeadLetterReason(Step.DECODE, "undecodable", "the bytes do not match the schema")


class Deserializer(Protocol):
    """Decodes the values of one topic. For one thread at a time."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of all decoded events."""
        ...

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is not a valid event.

        Every record is in exactly one of the two, both in the order of the records. Raises nothing for any bytes, as
        long as they are less than 2 GiB in total.
        """
        ...


class Serializer(Protocol):
    """Encodes the values of one topic. For one thread at a time."""

    @property
    def schema(self) -> pa.Schema:
        """The columns that a value needs."""
        ...

    def serialize(self, columns: pa.RecordBatch) -> pa.LargeBinaryArray:
        """Return one value per row, none null.

        ``columns`` has at least the columns of ``schema``, in any order, of those types or of types that can be cast to
        them without loss. Raises SchemaError if a column is missing, Unencodable if some rows cannot be encoded: a null
        in a field that is not nullable, a number out of range, a text that is not a symbol of the enum.
        """
        ...


class Unencodable(SurgetankError):  # noqa: N818 - the name is what happened
    """Some rows cannot be encoded.

    ``values`` has one entry per row, None for those rows; ``why`` gives the reasons by row.
    """

    def __init__(self, name: str, values: list[bytes | None], why: dict[int, str]) -> None:
        row, message = next(iter(why.items()))
        super().__init__(f"{len(why)} of {len(values)} rows cannot be written as {name!r}; row {row}: {message}")
        self.values = values
        self.why = why
