"""Measures vectors in events, in Avro and in JSON, as arrays of floats and as bytes: ``python -m ops.bench.vectors``.

CPU time of this process per event, of the decoder and of the features: the least of the rounds.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from surgetank import vector
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.base import Deserializer, Serializer
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.codec.json.serializer import JsonSerializer
from surgetank.codec.schema_repository import SchemaRepository
from surgetank.features.spec import FeatureSpec
from surgetank.records import RecordBatch, TopicPartition

ROWS = 4096
ROUNDS = 15
VALUE_BYTES_MAX = 1 << 20
TYPES: dict[str, Any] = {"array": {"type": "array", "items": "float"}, "bytes": "bytes"}


def microseconds(work: Callable[[], object]) -> float:
    """Return the CPU time of a batch, per event."""
    work()  # sizes the buffers
    found = []
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        work()
        found.append(time.process_time_ns() - began)
    return min(found) / ROWS / 1000


def main() -> None:
    """Measure and print."""
    for size in (32, 128):
        numbers = np.random.default_rng(0).normal(size=(ROWS, size)).astype(np.float32)
        for form, kind in TYPES.items():
            _measure(form, kind, numbers)


def _measure(form: str, kind: Any, numbers: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    size = numbers.shape[1]
    fields = [{"name": "id", "type": "string"}, {"name": "v", "type": kind}]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "event.avsc").write_text(json.dumps({"type": "record", "name": "event", "fields": fields}))
        (Path(folder) / "ids.json").write_text('{"1": {"schema": "event", "version": 1}}')
        contracts = SchemaRepository.load(Path(folder))
    both: dict[str, tuple[Serializer, Deserializer]] = {
        "avro": (
            AvroSerializer(contracts, "event"),
            AvroDeserializer(contracts, "event", value_bytes_max=VALUE_BYTES_MAX),
        ),
        "json": (
            JsonSerializer(contracts, "event"),
            JsonDeserializer(contracts, "event", value_bytes_max=VALUE_BYTES_MAX),
        ),
    }
    spec = FeatureSpec(vector("v", size))
    for name, (serializer, decoder) in both.items():
        # The shortest decimal numbers that are these float32, as producers write them.
        vectors = [row.tobytes() for row in numbers] if form == "bytes" else numbers.astype(str).astype(float).tolist()
        columns = pa.RecordBatch.from_pydict({"id": [f"e{row}" for row in range(ROWS)], "v": vectors})
        if name == "json" and form == "array":
            lines = [json.dumps({"id": f"e{row}", "v": each}).encode() for row, each in enumerate(vectors)]
            values = pa.array(lines, pa.large_binary())
        else:
            values = serializer.serialize(columns.cast(decoder.schema))
        zeros = np.zeros(ROWS, dtype=np.int64)
        batch = RecordBatch(
            (TopicPartition("events", 0),),
            zeros.astype(np.int32),
            np.arange(ROWS),
            zeros,
            pa.nulls(ROWS, pa.large_binary()),
            values,
        )
        events, dead = decoder.deserialize(batch)
        assert not dead
        assert np.array_equal(spec.matrix(events.columns), numbers)
        print(
            f"{size} numbers, {form}, {name}: {len(values[0].as_py())} bytes, "
            f"decoder {microseconds(lambda: decoder.deserialize(batch)):.2f} us, "  # noqa: B023
            f"features {microseconds(lambda: spec.matrix(events.columns)):.2f} us",  # noqa: B023
            flush=True,
        )


if __name__ == "__main__":
    main()
