"""Small real ONNX models, and batches of keyed events for them."""

from collections.abc import Sequence

import numpy as np
import onnx
import pyarrow as pa
from onnx import TensorProto, helper

from surgetank.records import DecodedBatch, RecordBatch, TopicPartition, large_binary
from surgetank.serving.onnx_model import OnnxModel

FEATURES = ("a", "b")


def constant_times_first(factor: float, version: str) -> OnnxModel:
    """Return a model whose score is the first feature times ``factor``."""
    nodes = [
        helper.make_node("Constant", [], ["at"], value_int=0),
        helper.make_node("Constant", [], ["factor"], value_float=factor),
        helper.make_node("Gather", ["x", "at"], ["first"], axis=1),
        helper.make_node("Mul", ["first", "factor"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", len(FEATURES)])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return OnnxModel(model.SerializeToString(), name="m", version=version, input="x", output="y", features=FEATURES)


def keyed_events(keys: Sequence[bytes | None]) -> DecodedBatch:
    """Return an event for each key, of one partition: event i has the id ``e<i>`` and the time i in seconds."""
    n = len(keys)
    records = RecordBatch(
        (TopicPartition("events", 3),),
        np.zeros(n, dtype=np.int32),
        np.arange(n, dtype=np.int64),
        np.arange(n, dtype=np.int64) * 1000,
        large_binary(keys),
        large_binary([b""] * n),
    )
    columns = pa.RecordBatch.from_pydict(
        {
            "event_id": pa.array([f"e{i}" for i in range(n)], pa.string()),
            "t": pa.array(np.arange(n) * 1000, pa.timestamp("ms", tz="UTC")),
        }
    )
    return DecodedBatch(records, np.arange(n, dtype=np.int64), columns)
