"""Makes cheaper forms of an ONNX model with the tools of ONNX Runtime: int8, float16, and graphs optimized beforehand.

| kind | what changes |
|---|---|
| optimized | ONNX Runtime's graph optimizations, done once instead of at each load |
| float16 | weights have half the size; processors without float16 arithmetic convert them for each call |
| int8 | weights and activations of matrix products are whole numbers, scaled by recorded inputs |
| int8-dynamic | the same, scaled by the values of each batch: the score of an event depends on its batch |

Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from surgetank.errors import ModelError
from surgetank.serving.model import Float32s
from surgetank.serving.onnx_without_telemetry import ort

KINDS = ("optimized", "float16", "int8", "int8-dynamic")
DYNAMIC = "int8-dynamic"

_PRODUCTS = ("Gemm", "MatMul")
_TREES = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble")
_CALIBRATION_ROWS = 1_000
_CALIBRATION_BATCH = 100


def make_variant(kind: str, model: bytes, *, input_name: str, calibration: Float32s) -> bytes:
    """Return a model of one of ``KINDS`` with the same inputs and outputs.

    ``calibration`` is float32 [n, F], recorded inputs; int8 uses up to 1,000 of its rows. Raises ModelError, which says
    what cannot be changed so, and why.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; there is: {', '.join(KINDS)}")
    proto = onnx.load_model_from_string(model)
    if kind != "optimized":
        _check_has_products(kind, proto)
    try:
        with _quiet(), tempfile.TemporaryDirectory(prefix="surgetank-quantize-") as folder:
            target = Path(folder) / "made.onnx"
            match kind:
                case "optimized":
                    _optimize(model, target)
                case "float16":
                    _halve(proto, target)
                case "int8":
                    _quantize(_prepared(proto, Path(folder)), target, input_name, calibration)
                case _:
                    _quantize_dynamically(_prepared(proto, Path(folder)), target)
            return target.read_bytes()
    except Exception as error:  # noqa: BLE001 - the tools raise errors of many types
        raise ModelError(f"{kind}: ONNX Runtime cannot make it: {type(error).__name__}: {error}") from None


def _check_has_products(kind: str, model: onnx.ModelProto) -> None:
    used = {node.op_type for node in model.graph.node}
    if used & set(_PRODUCTS):
        return
    if trees := used & set(_TREES):
        raise ModelError(
            f"{kind}: {trees.pop()} cannot be quantised: trees compare features with thresholds and add the values of "
            "leaves; they have no matrix products, and rounded thresholds would send events down other branches"
        )
    raise ModelError(f"{kind}: the model has no {' or '.join(_PRODUCTS)}, the operators that become cheaper")


def _optimize(model: bytes, target: Path) -> None:
    options = ort.SessionOptions()
    # Not ORT_ENABLE_ALL, whose layouts fit this processor only.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _halve(model: onnx.ModelProto, target: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Features may be larger than float16 can be: only what the matrix products read is converted.
    others = sorted({node.op_type for node in model.graph.node} - set(_PRODUCTS))
    onnx.save_model(convert_float_to_float16(model, keep_io_types=True, op_block_list=others), target)


def _prepared(model: onnx.ModelProto, folder: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    return prepared


def _quantize(prepared: Path, target: Path, input_name: str, calibration: Float32s) -> None:
    from onnxruntime import quantization

    if not len(calibration):
        raise ModelError("there are no recorded inputs to scale by")
    step = max(1, len(calibration) // _CALIBRATION_ROWS)
    rows = calibration[::step][:_CALIBRATION_ROWS]

    class Recorded(quantization.CalibrationDataReader):  # type: ignore[misc]
        """Hands out the recorded inputs in batches."""

        def __init__(self) -> None:
            self._batches = iter(np.array_split(rows, -(-len(rows) // _CALIBRATION_BATCH)))

        def get_next(self) -> dict[str, Any] | None:
            """Return the next inputs by name, None after the last."""
            batch = next(self._batches, None)
            return None if batch is None else {input_name: np.ascontiguousarray(batch)}

    quantization.quantize_static(
        prepared,
        target,
        Recorded(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(_PRODUCTS),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        reduce_range=True,  # products of 8 bits overflow on processors without VNNI, and scores must not depend on it
    )


def _quantize_dynamically(prepared: Path, target: Path) -> None:
    from onnxruntime import quantization

    quantization.quantize_dynamic(
        prepared,
        target,
        op_types_to_quantize=["MatMul"],  # it makes these of Gemm
        weight_type=quantization.QuantType.QInt8,
        reduce_range=True,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' advice, which they log, out of the output of a command."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
