"""What a prediction cache saves and costs, without Kafka: ``python -m ops.bench.prediction_cache``, half a minute.

A model with 1 ms a row and 90 % repeats: the throughput with the cache to that without. The flights model without
repeats: how much the cache costs while it is probed, and after it has switched itself off, as a share of the whole cost
of an event (``--event-us``, that of the flights benchmark) and of the model call alone.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from ops.bench.job import BUNDLE
from surgetank.clock import SystemClock
from surgetank.serving import bundle
from surgetank.serving.model import Float32s, Model
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.prediction_cache.cache_switch import WINDOW_SECONDS
from surgetank.serving.prediction_cache.cached_model import CachedBatch, CachedModel

BATCH_ROWS = 1024
SLOW_ROW_SECONDS = 0.001
CACHE_BYTES = 64 << 20
ROUNDS = 7


class _SlowModel(OnnxModel):
    """The flights model, which sleeps 1 ms for each row."""

    def score(self, matrix: Float32s) -> np.ndarray:
        time.sleep(SLOW_ROW_SECONDS * len(matrix))
        return super().score(matrix)


class _OtherRows:
    """Batches of random rows; a share of the rows of a batch repeats one of ``popular`` rows."""

    def __init__(self, features: int, repeats: float, popular: int = 2000) -> None:
        self._random = np.random.default_rng(1)
        self._features = features
        self._repeats = repeats
        self._popular = self._random.random((popular, features), dtype=np.float32)

    def batch(self, rows: int) -> Float32s:
        """Return float32 [rows, F]."""
        matrix = self._random.random((rows, self._features), dtype=np.float32)
        repeated = self._random.random(rows) < self._repeats
        matrix[repeated] = self._popular[self._random.integers(0, len(self._popular), int(repeated.sum()))]
        return matrix


def _flights(slow: bool) -> OnnxModel:
    chosen = bundle.load(BUNDLE.parents[1], BUNDLE.parent.name, BUNDLE.name)
    return (_SlowModel if slow else OnnxModel)(
        chosen.model,
        name=chosen.name,
        version=chosen.version,
        input=chosen.manifest.input,
        output=chosen.manifest.output,
        features=chosen.features,
    )


def _cache(model: Model, report: Callable[[CachedBatch], None] = lambda _: None) -> CachedModel:
    return CachedModel(model, bytes_max=CACHE_BYTES, ttl_seconds=300, clock=SystemClock(), on_batch=report)


def _row_us(model: Model, rows: _OtherRows, batches: int) -> float:
    """Return the mean microseconds of a row."""
    matrices = [rows.batch(BATCH_ROWS) for _ in range(batches)]
    started = time.perf_counter()
    for matrix in matrices:
        model.submit(matrix).result()
    return (time.perf_counter() - started) / (batches * BATCH_ROWS) * 1e6


def repeated() -> dict[str, float]:
    """Return the throughput of the slow model with the cache to that without, at 90 % repeats."""
    model = _flights(slow=True)
    rows = _OtherRows(8, 0.9)
    plain, cached = _row_us(model, rows, 3), _cache(model)
    _row_us(cached, rows, 10)  # the popular rows are known
    with_cache = _row_us(cached, rows, 10)
    return {"us_without": round(plain, 1), "us_with": round(with_cache, 1), "speedup": round(plain / with_cache, 2)}


def without_repeats(event_us: float) -> dict[str, float]:
    """Return what the cache costs the flights model without repeats: medians of alternating runs."""
    model, rows = _flights(slow=False), _OtherRows(8, 0.0)
    figures: list[CachedBatch] = []
    cached = _cache(model, figures.append)
    plain, probing = [], []
    begun = time.monotonic()
    while time.monotonic() - begun < WINDOW_SECONDS * 0.8:
        plain.append(_row_us(model, rows, 20))
        probing.append(_row_us(cached, rows, 20))
    while not figures[-1].bypassed:
        cached.submit(rows.batch(BATCH_ROWS)).result()
    plain_again, off = [], []
    for _ in range(ROUNDS):
        plain_again.append(_row_us(model, rows, 60))
        off.append(_row_us(cached, rows, 60))
    assert figures[-1].bypassed
    probe_us, off_us = median(probing) - median(plain), median(off) - median(plain_again)
    return {
        "model_us": round(median(plain), 3),
        "probing_us_more": round(probe_us, 3),
        "off_us_more": round(off_us, 3),
        "probing_share_of_event": round(probe_us / event_us, 4),
        "off_share_of_event": round(off_us / event_us, 4),
        "off_share_of_model": round(off_us / median(plain_again), 4),
    }


def main() -> None:
    """Parse the command line, measure, print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--event-us", type=float, default=2.6, help="CPU microseconds of a whole event of flights")
    arguments = parser.parse_args()
    print(json.dumps({"90 % repeats": repeated(), "0 % repeats": without_repeats(arguments.event_us)}, indent=2))


if __name__ == "__main__":
    main()
