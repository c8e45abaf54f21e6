"""surgetank.processing.model_rows: counts by version, of any number of versions."""

import numpy as np

from surgetank.processing.model_rows import ModelRows
from surgetank.records import ModelVersion
from surgetank.scored_rows import ScoredRows
from surgetank.telemetry.metrics import VERSIONS_COUNTED, Metrics


def scored_by(*versions: str, failed: tuple[int, ...] = ()) -> ScoredRows:
    """Return scores of these versions: one of the first, two of the second and so on."""
    model = np.repeat(np.arange(len(versions), dtype=np.int32), np.arange(1, len(versions) + 1))
    models = tuple(ModelVersion("m", version) for version in versions)
    return ScoredRows(np.arange(len(model)), np.zeros(len(model)), (), models, model, failed=failed)


def test_rows_are_counted_by_version_and_outcome() -> None:
    """Of a batch by two versions, and of one by one."""
    metrics = Metrics()
    rows = ModelRows(metrics)
    rows.count(scored_by("1", "2", failed=(0, 5)))
    rows.count(scored_by("2"))

    def counted(version: str, outcome: str) -> float:
        return metrics.model_rows.value(model="m", version=version, outcome=outcome)

    assert (counted("1", "scored"), counted("1", "failed")) == (1, 0)
    assert (counted("2", "scored"), counted("2", "failed")) == (3, 5)


def test_a_worker_may_serve_any_number_of_versions() -> None:
    """The counts of the oldest make room; the catalogue's bound is not exceeded."""
    metrics = Metrics()
    rows = ModelRows(metrics)
    for version in range(VERSIONS_COUNTED + 5):
        rows.count(scored_by(str(version), failed=(1,)))
    assert metrics.model_rows.value(model="m", version="4", outcome="scored") == 0
    assert metrics.model_rows.value(model="m", version="5", outcome="scored") == 1
    assert metrics.model_rows.value(model="m", version=str(VERSIONS_COUNTED + 4), outcome="failed") == 1
