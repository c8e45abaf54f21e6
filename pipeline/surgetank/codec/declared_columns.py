"""Adds the columns that a declaration can name to what another deserializer decodes."""

from dataclasses import replace

import pyarrow as pa

from surgetank.codec.base import Deserializer
from surgetank.event_columns import EventColumns
from surgetank.records import DeadLetter, DecodedBatch, RecordBatch


class DeclaredColumnsDeserializer:
    """A ``Deserializer`` whose ``schema`` has the columns of nested fields, and timestamps where a unit is declared."""

    def __init__(self, inner: Deserializer, columns: EventColumns) -> None:
        self.schema: pa.Schema = columns.schema
        self._inner = inner
        self._columns = columns

    def deserialize(self, records: RecordBatch) -> tuple[DecodedBatch, tuple[DeadLetter, ...]]:
        """Return the events in columns (``schema``), and a dead letter for each record that is not a valid event."""
        batch, dead = self._inner.deserialize(records)
        return replace(batch, columns=self._columns.of(batch.columns)), dead
