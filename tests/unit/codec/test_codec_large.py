"""Batches cut from reads of several gibibytes, as fetched where records were compressed well."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.records import large_binary_of
from tests.unit.codec.avro_samples import BYTES_MAX, contracts_of, record, records_of, written

SCHEMA = record(("a", "int"))


def test_a_batch_is_part_of_a_read_above_two_gibibytes(tmp_path: Path) -> None:
    """What counts is what the batch has, not the memory that it shares with other batches."""
    good = written(SCHEMA, {"a": 7})
    data = np.zeros(2**31 + 2 * len(good), dtype=np.uint8)  # pages that nobody touches take no memory
    data[: len(good)] = data[-len(good) :] = np.frombuffer(good, np.uint8)
    values = large_binary_of(np.array([0, len(good), len(data) - len(good), len(data)]), data)
    decoder = AvroDeserializer(contracts_of(tmp_path, SCHEMA), "event", value_bytes_max=BYTES_MAX)

    for row in (0, 2):
        columns, rows, dead = decoder.deserialize_values(values.slice(row, 1))
        assert (columns.to_pylist(), rows.tolist(), dead) == ([{"a": 7}], [0], ())


def test_a_large_value_makes_no_room_for_as_many_in_a_larger_batch(tmp_path: Path) -> None:
    """The next batch has the room of its own bytes, however much a row of the last one took."""
    schema = record(("a", "string"), ("b", {"type": "array", "items": "int"}))
    decoder = AvroDeserializer(contracts_of(tmp_path, schema), "event", value_bytes_max=100_000_000)
    large = written(schema, {"a": "a" * 1_000_000, "b": [1] * 1_000_000})
    small = written(schema, {"a": "a", "b": [1]})
    decoder.deserialize(records_of([large]))
    before = pa.total_allocated_bytes()

    batch, _ = decoder.deserialize(records_of([small] * 10_000))

    assert pa.total_allocated_bytes() - before < 10_000_000
    assert len(batch) == 10_000
