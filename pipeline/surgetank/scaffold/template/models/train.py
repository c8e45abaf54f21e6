"""Trains the model of the pipeline: ``python -m models.train`` writes the declared version below models/my-fraud.

A logistic regression on the logarithms of the features; Surgetank brings all that it needs. Any model will do that
becomes an ONNX file with one float32 input [rows, features] and one score per row.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper
from surgetank.serving import bundle

from sample_events import payments
from topology.my_fraud import pipeline

MODELS = Path(__file__).parent
Floats = npt.NDArray[np.float64]


def training_data() -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the features of each payment as a worker computes them, float64 [rows, features], and which are frauds."""
    table, fraud = payments()
    (columns,) = table.combine_chunks().to_batches()
    card, amount = columns["card"].to_numpy(zero_copy_only=False), columns["amount"].to_numpy()
    seconds = columns["paid_at"].cast("int64").to_numpy() / 1000
    order = np.argsort(card, kind="stable")  # the payments of each card, in the order of their time
    again = card[order][1:] == card[order][:-1]
    payment, previous = order[1:][again], order[:-1][again]
    last, since = np.full((2, len(card)), np.nan)
    last[payment], since[payment] = amount[previous], seconds[payment] - seconds[previous]
    remembered = {"cards_last_amount": last, "cards_seconds_since_last": since}
    return pipeline.spec.matrix(columns, remembered).astype(np.float64), fraud


def logarithms(matrix: Floats) -> Floats:
    """Return log(1 + x) of each feature, with 0 for missing values and for negative ones, as the model computes it."""
    return np.log1p(np.maximum(np.nan_to_num(matrix), 0.0))


def fit(inputs: Floats, fraud: npt.NDArray[np.bool_]) -> Floats:
    """Return the weights of a logistic regression by Newton's method, the constant last: float64 [features + 1].

    They are rounded, so that they are the same on every machine.
    """
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
    scaled = np.column_stack([(inputs - mean) / deviation, np.ones(len(inputs))])
    weights = np.zeros(scaled.shape[1])
    for _ in range(20):
        probability = 1 / (1 + np.exp(-scaled @ weights))
        curvature = (scaled.T * (probability * (1 - probability))) @ scaled
        weights += np.linalg.solve(curvature, scaled.T @ (fraud - probability))
    slopes = weights[:-1] / deviation
    rounded: Floats = np.round([*slopes, weights[-1] - slopes @ mean], 3)
    return rounded


def onnx_bytes(weights: Floats) -> bytes:
    """Return the model as an ONNX file: from ``features`` [rows, features] to ``probability`` [rows, 1]."""
    constants = {"zero": np.zeros(1), "one": np.ones(1), "weights": weights[:-1, np.newaxis], "constant": weights[-1:]}
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("Max", ["filled", "zero"], ["positive"]),
        helper.make_node("Add", ["positive", "one"], ["above"]),
        helper.make_node("Log", ["above"], ["logarithms"]),
        helper.make_node("Gemm", ["logarithms", "weights", "constant"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fraud",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(weights) - 1])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def area_under_curve(scores: Floats, fraud: npt.NDArray[np.bool_]) -> float:
    """Return the share of pairs of a fraud and another payment in which the fraud has the higher score."""
    rank = np.argsort(np.argsort(scores))
    pairs = fraud.sum() * (~fraud).sum()
    return float((rank[fraud].sum() - fraud.sum() * (fraud.sum() - 1) / 2) / pairs)


def train(directory: Path) -> bundle.Bundle:
    """Train on the first three quarters of the payments, test on the last, and write the bundle below a folder."""
    matrix, fraud = training_data()
    inputs, past = logarithms(matrix), len(fraud) * 3 // 4
    weights = fit(inputs[:past], fraud[:past])
    scores = inputs[past:] @ weights[:-1] + weights[-1]
    model = onnx_bytes(weights)
    manifest = bundle.Manifest(
        name=pipeline.model,
        version=pipeline.model_version,
        meaning="probability that a payment is fraudulent",
        features=pipeline.spec.declaration(),
        fingerprint=pipeline.spec.fingerprint(),
        sha256=bundle.sha256(model),
        input="features",
        output="probability",
        figures={"AUC, the last quarter of the payments": round(area_under_curve(scores, fraud[past:]), 3)},
        created_by="python -m models.train",
    )
    return bundle.write(directory, manifest, model, replace=True)


if __name__ == "__main__":
    made = train(MODELS)
    print(f"wrote {made.folder}: {made.manifest.figures}")
