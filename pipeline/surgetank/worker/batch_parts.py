"""Builds the batch sizer of a worker, and the prediction cache of a model."""

from typing import TYPE_CHECKING

from surgetank.batch_sizing import BatchSizer
from surgetank.clock import Clock
from surgetank.serving.batch_cost import CostLine
from surgetank.serving.batch_size_choice import BatchLimits, BatchSize
from surgetank.serving.batch_sizer import FixedBatchSizer
from surgetank.serving.latency_batch_sizer import LatencyBatchSizer
from surgetank.serving.model import Model
from surgetank.settings import Settings
from surgetank.telemetry.metrics import Metrics

if TYPE_CHECKING:  # compiled code is loaded only for a cache
    from surgetank.serving.prediction_cache.cached_model import CachedBatch


def batch_sizer(settings: Settings, model: Model, metrics: Metrics) -> BatchSizer:
    """Return the sizer of a worker: one that holds the latency target if there is one, else a constant size."""
    target, worker = settings.model.latency_target_seconds, settings.worker
    metrics.latency_target_seconds.set(target)
    metrics.batch_limit_rows.set(worker.batch_rows_max)
    if not target:
        return FixedBatchSizer(worker.batch_rows_max)

    def report(size: BatchSize, cost: CostLine | None) -> None:
        metrics.batch_limit_rows.set(size.rows)
        metrics.batch_limits.add(1, reason=size.reason)
        metrics.latency_least_seconds.set(size.least_seconds)
        if cost is not None:
            metrics.batch_row_seconds.set(cost.row_seconds)
            metrics.batch_fixed_seconds.set(cost.fixed_seconds)

    return LatencyBatchSizer(
        BatchLimits(target, worker.batch_rows_max, model.rows_max, worker.buffered_rows_max), on_chosen=report
    )


def cached(settings: Settings, model: Model, clock: Clock, metrics: Metrics) -> Model:
    """Return the model with a prediction cache, or as it is if the settings have none."""
    if not settings.model.cache_bytes:
        return model
    from surgetank.serving.prediction_cache.cached_model import CachedModel

    def report(batch: "CachedBatch") -> None:
        for outcome, rows in (
            ("hit", batch.hits),
            ("repeat", batch.repeats),
            ("miss", batch.misses),
            ("bypass", batch.bypassed),
        ):
            if rows:
                metrics.cache_rows.add(rows, outcome=outcome)
        metrics.cache_saved_seconds.add(batch.saved)
        metrics.cache_spent_seconds.add(batch.spent)
        metrics.cache_bytes.set(batch.bytes)

    return CachedModel(
        model,
        bytes_max=settings.model.cache_bytes,
        ttl_seconds=settings.model.cache_ttl_seconds,
        clock=clock,
        on_batch=report,
    )
