"""The dashboard of one pipeline: its events, its partitions, where time goes, and its workers side by side."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO
from ops.alerts.lag import LAG, STATUS
from ops.alerts.panels import Board, Row, Variable, show, statuses

RATE = "[$__rate_interval]"
_GROUP = '{group="$pipeline"}'
_PARTITION = "{{topic}} {{partition}}"


def mine(expr: str, *labels: str) -> str:
    """Return a per-worker expression summed over the workers of the chosen pipeline, by some labels."""
    by = f" by ({', '.join(labels)})" if labels else ""
    return f'sum{by} ({expr} * {INFO}{{pipeline="$pipeline"}})'


def _quantile(share: float, name: str, *labels: str) -> str:
    return f"histogram_quantile({share}, {mine(f'rate({name}_bucket{RATE})', 'le', *labels)})"


def _of_group(name: str, among: str = "") -> str:
    return f"max by (topic, partition) ({name}{_GROUP}{among})"


EVENTS = Row(
    "Events",
    (
        show(
            "In and scored, a second",
            "ops",
            (mine(f"rate(surgetank_events_received_total{RATE})"), "in"),
            (mine(f"rate(surgetank_events_scored_total{RATE})"), "scored"),
        ),
        show(
            "Latency",
            "s",
            *((_quantile(share, "surgetank_end_to_end_seconds"), f"{share:.0%}") for share in (0.5, 0.9, 0.99)),
            limit=o.SCORED_WITHIN_SECONDS,
        ),
        show(
            "Dead letters, a second",
            "ops",
            (mine(f"rate(surgetank_events_dead_total{RATE})", "stage", "reason") + " > 0", "{{stage}} {{reason}}"),
        ),
    ),
)

PARTITIONS = Row(
    "Partitions",
    (
        show("Lag in seconds", "s", (f"{LAG}{_GROUP}", _PARTITION), limit=o.LAG_SECONDS_MAX),
        show("Lag in records", "short", (_of_group("surgetank_group_lag_records"), _PARTITION)),
        statuses("How each does", f"{STATUS}{_GROUP}", _PARTITION),
        show("Arrival, a second", "ops", (_of_group("surgetank_group_arrival_records_per_second"), _PARTITION)),
        show("Committed, a second", "ops", (_of_group("surgetank_group_processing_records_per_second"), _PARTITION)),
        show("Until worked off", "s", (_of_group("surgetank_group_drain_seconds", " < +Inf"), _PARTITION)),
    ),
)

TIME = Row(
    "Where time goes",
    (
        show("Stages, 99 of 100 batches", "s", (_quantile(0.99, "surgetank_stage_seconds", "stage"), "{{stage}}")),
        show("Rows of the middle batch", "short", (_quantile(0.5, "surgetank_stage_rows", "stage"), "{{stage}}")),
        show(
            "Transactions",
            "s",
            *((_quantile(share, "surgetank_transaction_seconds"), f"{share:.0%}") for share in (0.5, 0.99)),
        ),
    ),
)

WORKERS = Row(
    "Workers",
    (
        show(
            "Scored by each, a second",
            "ops",
            (mine(f"rate(surgetank_events_scored_total{RATE})", "instance"), "{{instance}}"),
        ),
        show("CPU", "percentunit", (mine(f"rate(process_cpu_seconds_total{RATE})", "instance"), "{{instance}}")),
        show("Memory", "bytes", (mine("process_resident_memory_bytes", "instance"), "{{instance}}")),
        show("Tasks", "short", (mine("surgetank_tasks", "instance", "state") + " > 0", "{{instance}} {{state}}")),
        show(
            "Rebalances",
            "short",
            (mine(f"increase(surgetank_rebalances_total{RATE})", "instance", "change"), "{{instance}} {{change}}"),
        ),
        show("Ready", "short", (mine("surgetank_ready", "instance"), "{{instance}}")),
    ),
)

ONE_PIPELINE = Board(
    "surgetank-pipeline",
    "Surgetank: one pipeline",
    (EVENTS, PARTITIONS, TIME, WORKERS),
    (Variable("pipeline", "surgetank_worker_info", "pipeline"),),
)
