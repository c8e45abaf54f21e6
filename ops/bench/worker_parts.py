"""Defines the CPU parts of a Surgetank worker: the measured public methods and threads.

Methods are measured inside the thread that computes; the other threads have one part each. A part that is not listed,
such as assembling a batch or the event loop, is ``rest``.
"""

from typing import Any

from ops.bench.cpu_parts import CpuParts
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.avro.serializer import AvroSerializer
from surgetank.codec.json.deserializer import JsonDeserializer
from surgetank.features.spec import FeatureSpec
from surgetank.runtime.fetcher import Fetcher
from surgetank.runtime.transaction_manager import TransactionManager
from surgetank.serving.onnx_model import OnnxModel

THREADS = {"transactions": "produce", "send offsets": "commit"}
METHODS: tuple[tuple[Any, str, str], ...] = (
    (Fetcher, "poll", "pull"),
    (AvroDeserializer, "deserialize", "decode"),
    (JsonDeserializer, "deserialize", "decode"),
    (FeatureSpec, "matrix", "features"),
    (AvroSerializer, "serialize", "encode"),
    (TransactionManager, "commit", "commit"),
)


def install(parts: CpuParts, *, tables: bool) -> None:
    """Measure the methods from now on, if the benchmark asks for it. Call it before the worker is built.

    ``tables``: the pipeline has tables, whose reads, updates and writes are part of the features.
    """
    if not parts.enabled:
        return
    from surgetank.serving.trees.compiled_trees import CompiledTrees  # loads compiled code

    for owner, name, part in METHODS:
        parts.wrap(owner, name, part)
    for model in (OnnxModel, CompiledTrees):
        parts.wrap(model, "score", "infer", events=lambda _, matrix: len(matrix))
    if tables:
        from surgetank.processing.stateful_features import StatefulFeatures  # loads compiled code

        for name in ("compute", "put_scores"):
            parts.wrap(StatefulFeatures, name, "features")
