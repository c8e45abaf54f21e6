"""The dashboard of one pipeline: events, partitions, durations, and a comparison of its workers."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO
from ops.alerts.lag import LAG, STATUS
from ops.alerts.panels import Dashboard, Row, Variable, statuses, time_series

RATE = "[$__rate_interval]"
_GROUP = '{group="$pipeline"}'
_PARTITION = "{{topic}} {{partition}}"


def of_pipeline(expr: str, *labels: str) -> str:
    """Return the sum of a worker expression over the workers of the selected pipeline, by labels."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f'sum{by} ({expr} * {INFO}{{pipeline="$pipeline"}})'


def _quantile(share: float, name: str, *labels: str) -> str:
    return f"histogram_quantile({share}, {of_pipeline(f'rate({name}_bucket{RATE})', 'le', *labels)})"


def _of_group(name: str, among: str = "") -> str:
    return f"max by (topic, partition) ({name}{_GROUP}{among})"


EVENTS = Row(
    "Events",
    (
        time_series(
            "Events per second",
            "ops",
            (of_pipeline(f"rate(surgetank_events_received_total{RATE})"), "received"),
            (of_pipeline(f"rate(surgetank_events_scored_total{RATE})"), "scored"),
        ),
        time_series(
            "Latency",
            "s",
            *((_quantile(share, "surgetank_end_to_end_seconds"), f"{share:.0%}") for share in (0.5, 0.9, 0.99)),
            limit=o.SCORED_WITHIN_SECONDS,
        ),
        time_series(
            "Dead letters per second",
            "ops",
            (
                of_pipeline(f"rate(surgetank_events_dead_total{RATE})", "stage", "reason") + " > 0",
                "{{stage}} {{reason}}",
            ),
        ),
    ),
)

PARTITIONS = Row(
    "Partitions",
    (
        time_series("Lag in seconds", "s", (f"{LAG}{_GROUP}", _PARTITION), limit=o.LAG_SECONDS_MAX),
        time_series("Lag in records", "short", (_of_group("surgetank_group_lag_records"), _PARTITION)),
        statuses("Lag status", f"{STATUS}{_GROUP}", _PARTITION),
        time_series("Arrival rate", "ops", (_of_group("surgetank_group_arrival_records_per_second"), _PARTITION)),
        time_series("Commit rate", "ops", (_of_group("surgetank_group_processing_records_per_second"), _PARTITION)),
        time_series("Time to drain", "s", (_of_group("surgetank_group_drain_seconds", " < +Inf"), _PARTITION)),
    ),
)

TIME = Row(
    "Durations",
    (
        time_series(
            "Time per stage, 99th percentile of batches",
            "s",
            (_quantile(0.99, "surgetank_stage_seconds", "stage"), "{{stage}}"),
        ),
        time_series("Rows per batch, median", "short", (_quantile(0.5, "surgetank_stage_rows", "stage"), "{{stage}}")),
        time_series(
            "Transactions",
            "s",
            *((_quantile(share, "surgetank_transaction_seconds"), f"{share:.0%}") for share in (0.5, 0.99)),
        ),
    ),
)

WORKERS = Row(
    "Workers",
    (
        time_series(
            "Events scored per second",
            "ops",
            (of_pipeline(f"rate(surgetank_events_scored_total{RATE})", "instance"), "{{instance}}"),
        ),
        time_series(
            "CPU", "percentunit", (of_pipeline(f"rate(process_cpu_seconds_total{RATE})", "instance"), "{{instance}}")
        ),
        time_series("Memory", "bytes", (of_pipeline("process_resident_memory_bytes", "instance"), "{{instance}}")),
        time_series(
            "Tasks", "short", (of_pipeline("surgetank_tasks", "instance", "state") + " > 0", "{{instance}} {{state}}")
        ),
        time_series(
            "Rebalances",
            "short",
            (
                of_pipeline(f"increase(surgetank_rebalances_total{RATE})", "instance", "change"),
                "{{instance}} {{change}}",
            ),
        ),
        time_series("Ready", "short", (of_pipeline("surgetank_ready", "instance"), "{{instance}}")),
    ),
)

ONE_PIPELINE = Dashboard(
    "surgetank-pipeline",
    "Surgetank: one pipeline",
    (EVENTS, PARTITIONS, TIME, WORKERS),
    (Variable("pipeline", "surgetank_worker_info", "pipeline"),),
)
