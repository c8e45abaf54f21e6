"""Time of a model call without Kafka: ``python -m ops.bench.compiled_trees``.

Compares ONNX Runtime with rows as they arrive, ONNX Runtime with rows in the order of the branches
(``surgetank.serving.row_order``), and compiled trees, on one thread, for flights and payments. CPU nanoseconds per row,
medians of rounds that take turns.
"""

import argparse
from collections.abc import Callable

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ops.bench.hand_state_trees import PaymentsTreesJob
from ops.bench.hand_trees import TreesJob
from ops.bench.job import BUNDLE, BenchJob, Scoring
from ops.bench.payments_job import BUNDLE as PAYMENTS_BUNDLE
from ops.bench.payments_job import PaymentsJob
from ops.training.flights_schedule import flights
from ops.training.payments import examples
from surgetank.serving.bundle import load
from surgetank.serving.engine_choice import Score, measure
from surgetank.serving.model import Float32s
from surgetank.serving.onnx_model import OnnxModel
from topology.recordings.flights import boarding_table

BATCHES = (1, 64, 1024, 8192)
ARRIVED, ORDERED, TREES = "as they arrive", "ordered", "compiled"


def flights_rows() -> Float32s:
    """Return the features of all flights of the recording, in the order of the file."""
    (batch,) = boarding_table().combine_chunks().to_batches()
    matrix: Float32s = flights.spec.matrix(batch)
    return matrix


def engines(plain: Scoring, trees: Scoring, ordered: OnnxModel) -> dict[str, Score]:
    """Return what is compared."""

    def by(infer: Callable[[Float32s], Float32s]) -> Score:
        return lambda matrix: infer(matrix).astype(np.float64)

    return {ARRIVED: by(plain.infer), ORDERED: ordered.score, TREES: by(trees.infer)}


def opened(folder_of_bundle: str) -> OnnxModel:
    """Return the model of a job as a worker with ONNX Runtime calls it."""
    folder = {"flights": BUNDLE, "payments": PAYMENTS_BUNDLE}[folder_of_bundle]
    bundle = load(folder.parents[1], folder.parent.name, folder.name)
    names = bundle.manifest
    return OnnxModel(
        bundle.model,
        name=bundle.name,
        version=bundle.version,
        input=names.input,
        output=names.output,
        features=bundle.features,
    )


def table(job: str, found: dict[str, dict[str, float]]) -> Table:
    """Return the figures of a job, of at most 80 columns."""
    title = f"{job}: CPU nanoseconds per row of a model call"
    shown = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    headings = ("rows", f"ONNX,\n{ARRIVED}", f"ONNX,\n{ORDERED}", "compiled\ntrees", "x as they\narrive", "x\nordered")
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    for rows, trees in found[TREES].items():
        times = [found[name][rows] for name in (ARRIVED, ORDERED)]
        shown.add_row(rows, *(f"{each:,.0f}" for each in (*times, trees)), *(f"{each / trees:.1f}" for each in times))
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time of a model call: ONNX Runtime and compiled trees.")
    parser.add_argument("--job", choices=("flights", "payments"), help="one of the two (default: both)")
    chosen = parser.parse_args().job
    console = Console(width=80)
    if chosen != "payments":
        compared = engines(BenchJob("bench", "events"), TreesJob("bench", "events"), opened("flights"))
        console.print(table("flights", measure(compared, flights_rows(), BATCHES)))
    if chosen != "flights":
        compared = engines(PaymentsJob("bench", "events"), PaymentsTreesJob("bench", "events"), opened("payments"))
        console.print(table("payments", measure(compared, examples()[0], BATCHES)))


if __name__ == "__main__":
    main()
