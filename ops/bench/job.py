"""The processing of a batch of events in all four contenders, written by hand: bytes in, bytes out, no engine.

Needs numpy, pyarrow, pyruhvro and onnxruntime only, because Quix Streams runs it in a separate environment.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
import pyruhvro

from ops.bench.tuning import BATCH_ROWS_MAX

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = (ROOT / "schemas", ROOT / "pipeline" / "surgetank" / "codec" / "schemas")  # the project's, the engine's
BUNDLE = ROOT / "topology" / "models" / "flights-late" / "1"

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_INSTANT = pa.timestamp("ms", tz="UTC")

Matrix = npt.NDArray[np.float32]


class Avro:
    """Converts Confluent-framed Avro of one schema to columns and back, in whole batches, by pyruhvro.

    The frame is part of the schema (a boolean and a float are its five bytes), so values are not sliced or joined.
    """

    def __init__(self, name: str) -> None:
        folder = folder_of(name)
        record = json.loads((folder / f"{name}.avsc").read_text())
        ids = json.loads((folder / "ids.json").read_text())
        number = next(int(i) for i, meaning in ids.items() if meaning["schema"] == name)
        fields = [
            {"name": "magic", "type": "boolean"},
            {"name": "id", "type": "float"},
            {"name": "event", "type": _bare(record)},
        ]
        self.names = [field["name"] for field in record["fields"]]
        self._schema = json.dumps({"type": "record", "name": "Frame", "fields": fields})
        self.frame = b"\0" + number.to_bytes(4, "big")
        self._id = np.frombuffer(self.frame[1:], dtype=np.uint32)[0]

    def decode(self, values: list[bytes]) -> pa.StructArray:
        """Return the events as a struct array with one row per value."""
        return pyruhvro.deserialize_array(values, self._schema).column(2)

    def encode(self, columns: list[pa.Array]) -> list[bytes]:
        """Return framed values; ``columns`` in the order of the schema."""
        rows = len(columns[0])
        frame = [
            pa.array(np.zeros(rows, dtype=np.bool_)),
            pa.Array.from_buffers(pa.float32(), rows, [None, pa.py_buffer(np.full(rows, self._id))]),
            pa.StructArray.from_arrays(columns, names=self.names),
        ]
        framed = pa.RecordBatch.from_arrays(frame, names=["magic", "id", "event"])
        values: list[bytes] = pyruhvro.serialize_record_batch(framed, self._schema, 1)[0].to_pylist()
        return values


class Features:
    """Computes the model's matrix by hand. The vocabulary of each category is in the model's manifest."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        words = {f["name"]: f["vocabulary"] for f in manifest["features"] if f["kind"] == "Category"}
        self._words = {name: pa.array(words[name], pa.string()) for name in ("carrier", "origin", "dest")}

    def matrix(self, events: pa.StructArray) -> Matrix:
        """Return float32 [m, 8]."""
        matrix = np.empty((len(events), 8), dtype=np.float32)
        for place, (name, words) in enumerate(self._words.items()):
            found = pc.index_in(events.field(name), words)
            matrix[:, place] = found.to_numpy(zero_copy_only=False) if found.null_count else found.to_numpy()
        for place, name in (
            (3, "distance"),
            (4, "scheduled_departure_local_minutes"),
            (5, "scheduled_arrival_local_minutes"),
        ):
            matrix[:, place] = events.field(name).to_numpy()
        departure = _milliseconds(events.field("scheduled_departure"))
        matrix[:, 6] = (departure // _DAY_MS + 3) % 7
        matrix[:, 7] = (_milliseconds(events.field("scheduled_arrival")) - departure) / _MINUTE_MS
        return matrix


class Scoring:
    """A model, and scores as Avro: the common part of the jobs. Not for several threads at once."""

    def __init__(self, bundle: Path, pipeline: str, events_topic: str) -> None:
        manifest = json.loads((bundle / "manifest.json").read_text())
        self._scores = Avro("score")
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(str(bundle / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._input, self._output = manifest["input"], manifest["output"]
        constant = (pipeline, manifest["name"], manifest["version"])
        self._constants = [pa.repeat(pa.scalar(text), BATCH_ROWS_MAX) for text in (*constant, events_topic)]
        self.infer(np.zeros((BATCH_ROWS_MAX, len(manifest["features"])), dtype=np.float32))

    def infer(self, matrix: Matrix) -> Matrix:
        """Return float32 [m]."""
        (answer,) = self._session.run([self._output], {self._input: matrix})
        column: Matrix = answer[:, -1] if answer.ndim == 2 else answer
        return column

    def encode(
        self,
        ids: pa.Array,
        keys: pa.Array,
        scores: Matrix,
        times: pa.Array,
        partitions: Sequence[int] | npt.NDArray[np.int32],
        offsets: Sequence[int] | npt.NDArray[np.int64],
    ) -> list[bytes]:
        """Return framed scores of m events, at most BATCH_ROWS_MAX."""
        rows = len(scores)
        pipeline, model, version, topic = (column.slice(0, rows) for column in self._constants)
        return self._scores.encode(
            [
                ids,
                keys,
                pa.array(scores.astype(np.float64)),
                pipeline,
                model,
                version,
                times,
                pa.array(np.full(rows, time.time_ns() // 1_000_000)).view(_INSTANT),
                topic,
                pa.array(partitions, pa.int32()),
                pa.array(offsets, pa.int64()),
            ]
        )


class BenchJob(Scoring):
    """Scores whole batches of one topic's flights. Not for several threads at once."""

    def __init__(self, pipeline: str, events_topic: str) -> None:
        super().__init__(BUNDLE, pipeline, events_topic)
        self._events = Avro("boarding")
        self._features = Features(json.loads((BUNDLE / "manifest.json").read_text()))

    def score(
        self,
        values: list[bytes],
        partitions: Sequence[int] | npt.NDArray[np.int32],
        offsets: Sequence[int] | npt.NDArray[np.int64],
        spent: Callable[[str], None] = lambda _: None,
    ) -> list[bytes]:
        """Return one framed score per event, at most BATCH_ROWS_MAX. ``spent`` is called with the name of each part."""
        events = self._events.decode(values)
        spent("decode")
        matrix = self._features.matrix(events)
        spent("features")
        scores = self.infer(matrix)
        spent("infer")
        ids, keys, times = (events.field(name) for name in ("event_id", "tailnum", "boarding_at"))
        encoded = self.encode(ids, keys, scores, times, partitions, offsets)
        spent("encode")
        return encoded


def _milliseconds(times: pa.Array) -> npt.NDArray[np.int64]:
    milliseconds: npt.NDArray[np.int64] = times.view(pa.int64()).to_numpy()
    return milliseconds


def folder_of(name: str) -> Path:
    """Return the folder that holds a schema."""
    return next(folder for folder in SCHEMAS if (folder / f"{name}.avsc").exists())


def _bare(avro: Any) -> Any:
    """Remove what decoding does not need: the library hashes the text of the schema at each call."""
    if isinstance(avro, list):
        return [_bare(each) for each in avro]
    if not isinstance(avro, dict):
        return avro
    return {name: _bare(each) for name, each in avro.items() if name not in {"doc", "default"}}
