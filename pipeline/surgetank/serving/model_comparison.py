"""Compares a cheaper form of a model with the model: size, load time, latency, scores, and their quality."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from surgetank.clock import Clock
from surgetank.errors import ModelError
from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.onnx_model import OnnxModel

BATCHES = (1, 64, 1024)
_SECONDS = 0.1  # of calls per batch size
_CALLS_MIN = 5
_PERCENTILE = 99.0


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Bytes of the file, seconds to load it, and by number of rows the median seconds of a call on one thread."""

    bytes: int
    load_seconds: float
    call_seconds: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoreDifference:
    """How the scores of the same rows differ from those of the model, as absolute values.

    ``auc`` and ``auc_loss`` are None without labels; the loss is positive if the model is better.
    """

    largest: float
    p99: float
    auc: float | None = None
    auc_loss: float | None = None


def open_and_measure(
    opened: Callable[[], OnnxModel], size: int, rows: Float32s, clock: Clock
) -> tuple[OnnxModel, ModelCost]:
    """Open a model of ``size`` bytes and measure it with rows float32 [n, F], which are repeated if they are few.

    Raises ModelError if it cannot be opened or there are no rows.
    """
    if not len(rows):
        raise ModelError("there are no recorded inputs to measure with")
    started = clock.monotonic()
    model = opened()
    load_seconds = clock.monotonic() - started
    calls = {}
    for batch in BATCHES:
        matrix = np.ascontiguousarray(np.resize(rows, (batch, rows.shape[1])))
        model.score(matrix)  # allocates memory
        seconds: list[float] = []
        while sum(seconds) < _SECONDS or len(seconds) < _CALLS_MIN:
            started = clock.monotonic()
            model.score(matrix)
            seconds.append(clock.monotonic() - started)
        calls[batch] = statistics.median(seconds)
    return model, ModelCost(size, load_seconds, calls)


def compare_scores(expected: Float64s, scores: Float64s, labels: npt.NDArray[np.bool_] | None) -> ScoreDifference:
    """Return how scores, float64 [n], differ from those of the model, n > 0; ``labels`` is bool [n].

    NaN differs from every number, by an infinite amount, and not from NaN.
    """
    with np.errstate(invalid="ignore"):
        differences = np.abs(scores - expected)
    differences[np.isnan(scores) & np.isnan(expected)] = 0
    differences = np.where(np.isnan(differences), np.inf, differences)
    p99 = float(np.percentile(differences, _PERCENTILE, method="higher"))
    if labels is None:
        return ScoreDifference(float(differences.max()), p99)
    found = auc(labels, scores)
    return ScoreDifference(float(differences.max()), p99, found, auc(labels, expected) - found)


def auc(labels: npt.NDArray[np.bool_], scores: Float64s) -> float:
    """Return the share of pairs of a positive and a negative in which the positive has the higher score; ties are half.

    By the ranks (Mann and Whitney, 1947). Raises ModelError if all labels are the same.
    """
    positives = int(np.count_nonzero(labels))
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise ModelError("all labels are the same: there is no AUC; record more rows, or leave the labels out")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # the mean rank of equal scores
    total = float(ranks[inverse][labels].sum())
    return (total - positives * (positives + 1) / 2) / (positives * negatives)
