"""Chooses, when a bundle is built, the engine that scores it: compiled trees where they are equal and faster.

The choice is written into the manifest and never made again, so that workers, tools and replays of one version score
alike on every machine.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from surgetank.serving.bundle import Bundle, Engine, Manifest, Tolerance
from surgetank.serving.model import Float32s, Float64s
from surgetank.serving.onnx_model import OnnxModel
from surgetank.serving.trees.boundary_rows import boundary_rows
from surgetank.serving.trees.ensemble import CannotCompile

BATCHES = (1, 64, 1024)
ROUNDS = 15
ROUND_SECONDS = 0.004  # of CPU for one measurement, by repeated calls
TIMED_ROWS_MAX = 50_000
WARM_UP_CALLS = 3

Score = Callable[[Float32s], Float64s]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine for a manifest, and why: a sentence, and the figures that were compared (None: nothing was)."""

    engine: Engine
    reason: str
    figures: dict[str, Any] | None = None

    def written_to(self, manifest: Manifest) -> Manifest:
        """Return the manifest with this engine, and the figures under ``engine`` in its figures."""
        figures = {name: value for name, value in manifest.figures.items() if name != "engine"}
        if self.figures is not None:
            figures["engine"] = self.figures
        return manifest.model_copy(update={"engine": self.engine, "figures": figures})


def choose_engine_of(bundle: Bundle, rows: Float32s | None = None) -> EngineChoice:
    """Return the engine for the model of a bundle; ``rows`` as for ``choose_engine``."""
    manifest = bundle.manifest
    return choose_engine(
        bundle.model,
        input=manifest.input,
        output=manifest.output,
        features=bundle.features,
        tolerance=manifest.tolerance,
        rows=rows,
    )


def choose_engine(
    model: Path | bytes,
    *,
    input: str,  # noqa: A002 - ONNX's own word
    output: str,
    features: Sequence[str],
    tolerance: Tolerance,
    rows: Float32s | None = None,
) -> EngineChoice:
    """Compare compiled trees with ONNX Runtime, on one thread; return compiled trees if they are equal and faster.

    Equal: the scores of random, boundary, infinite and missing rows, and of ``rows`` (float32 [m, F], recorded features
    if there are any), differ by at most ``absolute + relative * abs(score of ONNX Runtime)``. Sums are equal to the
    last bit; a logistic or softmax is rounded differently, by about 1e-7. Faster: not slower for 1, 64 and 1,024 rows.
    It takes about a second. Raises ModelError if ONNX Runtime cannot load the model.
    """
    names: dict[str, Any] = {"name": "compared", "version": "0", "input": input, "output": output, "features": features}
    reference = OnnxModel(model, **names)
    from surgetank.serving.trees.compiled_trees import CompiledTrees  # compiled code takes a moment to load

    try:
        trees = CompiledTrees(model, **names)
    except CannotCompile as error:
        return EngineChoice("onnxruntime", f"not compiled because {error}")
    if trees.columns > 2:
        return EngineChoice("onnxruntime", f"not compiled because its output has {trees.columns} columns")
    near = boundary_rows(trees.graph, len(features))
    compared = near if rows is None else np.concatenate([near, rows.astype(np.float32)])
    worst = worst_difference(trees.score(compared), reference.score(compared), tolerance)
    if worst.beyond:
        return EngineChoice("onnxruntime", f"not compiled because {worst.beyond} of {len(compared)} scores differ")
    timed = (near if rows is None else rows)[:TIMED_ROWS_MAX]
    shuffled = timed[np.random.default_rng(4).permutation(len(timed))]
    found = measure({"onnxruntime": reference.score, "compiled-trees": trees.score}, shuffled)
    figures = {"nanoseconds_per_row": found, "rows_compared": len(compared), "difference_max": worst.largest}
    engine, reason = verdict(found)
    return EngineChoice(engine, reason, figures)


def verdict(nanoseconds: dict[str, dict[str, float]]) -> tuple[Engine, str]:
    """Return the engine and the reason, from nanoseconds per row by engine and number of rows. Pure."""
    ratios = {rows: nanoseconds["onnxruntime"][rows] / each for rows, each in nanoseconds["compiled-trees"].items()}
    times = ", ".join(f"{ratio:.1f} times at {rows}" for rows, ratio in ratios.items())
    if all(ratio >= 1 for ratio in ratios.values()):
        return "compiled-trees", f"compiled trees are as fast as ONNX Runtime or faster, in rows of a batch: {times}"
    return "onnxruntime", f"not compiled because ONNX Runtime is faster; compiled trees, in rows of a batch: {times}"


@dataclass(frozen=True, slots=True)
class EngineDifference:
    """How far two engines are apart: the number of scores beyond the tolerance, and the largest difference."""

    beyond: int
    largest: float


def worst_difference(scores: Float64s, expected: Float64s, tolerance: Tolerance) -> EngineDifference:
    """Compare scores float64 [m]. NaN equals NaN, and an infinity itself. Pure."""
    close = np.isclose(scores, expected, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)
    with np.errstate(invalid="ignore"):
        apart = np.abs(scores - expected)
    return EngineDifference(int((~close).sum()), float(np.max(apart[np.isfinite(apart)], initial=0.0)))


def measure(engines: dict[str, Score], rows: Float32s, batches: Sequence[int] = BATCHES) -> dict[str, dict[str, float]]:
    """Return the CPU nanoseconds per row of each engine by number of rows: medians of rounds that take turns.

    Calls have consecutive rows of ``rows``, float32 [m, F], and each call other rows, so that no branch is learnt by
    heart. CPU is that of the calling thread, which other processes disturb least.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in engines}
    for size in batches:
        pool = rows if len(rows) >= size else np.resize(rows, (size, rows.shape[1]))
        parts = [pool[start : start + size] for start in range(0, len(pool) - size + 1, size)]
        calls = {name: _calls(score, parts) for name, score in engines.items()}
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(ROUNDS):
            for name, score in engines.items():
                times[name].append(_nanoseconds(score, parts, calls[name]) / (calls[name] * size))
        for name, each in times.items():
            found[name][str(size)] = round(median(each), 1)
    return found


def _calls(score: Score, parts: Sequence[Float32s]) -> int:
    """Return how many calls take ROUND_SECONDS, after a warm-up."""
    _nanoseconds(score, parts, WARM_UP_CALLS)
    return max(1, round(ROUND_SECONDS * 1e9 * WARM_UP_CALLS / _nanoseconds(score, parts, WARM_UP_CALLS)))


def _nanoseconds(score: Score, parts: Sequence[Float32s], calls: int) -> int:
    started = time.thread_time_ns()
    for call in range(calls):
        score(parts[call % len(parts)])
    return max(1, time.thread_time_ns() - started)
