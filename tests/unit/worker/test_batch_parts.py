"""surgetank.worker.batch_parts: the batch sizer of the settings, and its metrics."""

import numpy as np

from surgetank.clock import SystemClock
from surgetank.serving.batch_size_choice import Reason
from surgetank.serving.batch_sizer import FixedBatchSizer
from surgetank.settings import Settings
from surgetank.settings.models import ModelSettings
from surgetank.settings.schema import WorkerSettings
from surgetank.telemetry.metrics import LIMIT, Metrics
from surgetank.worker.batch_parts import batch_sizer, cached
from tests.support.function_model import FunctionModel

MODEL = FunctionModel(lambda matrix: matrix[:, 0].astype(np.float64))


def test_without_a_target_a_batch_has_the_rows_that_are_set() -> None:
    """It is the default."""
    metrics = Metrics()
    sizer = batch_sizer(Settings(worker=WorkerSettings(batch_rows_max=77)), MODEL, metrics)
    assert isinstance(sizer, FixedBatchSizer)
    assert sizer.rows_max() == 77
    assert metrics.batch_limit_rows.value() == 77


def test_with_a_target_sizes_and_their_reasons_are_counted() -> None:
    """And the cost of a batch is shown."""
    metrics = Metrics()
    sizer = batch_sizer(Settings(model=ModelSettings(latency_target_seconds=0.1)), MODEL, metrics)
    for rows in (10, 40):
        sizer.waiting(rows, 1.0)
        sizer.computed(rows, 0.002 * rows + 0.003)
    sizer.waiting(0, 2.0)
    assert metrics.batch_limit_rows.value() == sizer.rows_max() == 23
    assert metrics.batch_limits.value(reason="cost") >= 1
    assert metrics.latency_target_seconds.value() == 0.1
    assert np.isclose(metrics.batch_row_seconds.value() or 0, 0.002)
    assert np.isclose(metrics.latency_least_seconds.value() or 0, 0.01)


def test_without_cache_bytes_the_model_is_called_as_it_is() -> None:
    """It is the default."""
    assert cached(Settings(), MODEL, SystemClock(), Metrics()) is MODEL


def test_a_cache_counts_its_rows_and_what_it_saves() -> None:
    """Rows are counted by outcome."""
    metrics = Metrics()
    model = cached(Settings(model=ModelSettings(cache_bytes=1 << 20)), MODEL, SystemClock(), metrics)
    for values in ([1, 2, 2], [2, 3]):
        model.submit(np.array(values, dtype=np.float32).reshape(-1, 1)).result()
    found = {outcome: metrics.cache_rows.value(outcome=outcome) for outcome in ("hit", "repeat", "miss", "bypass")}
    assert found == {"hit": 1, "repeat": 1, "miss": 3, "bypass": 0}
    assert metrics.cache_bytes.value() == 3 * 24
    assert metrics.cache_spent_seconds.value() > 0


def test_every_reason_is_a_label() -> None:
    """The catalogue does not import serving, so it lists them."""
    assert LIMIT.values == set(Reason)
