"""The overview dashboard: current lag and latency, their forecast, and the reactions of the system."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO, by_pipeline
from ops.alerts.lag import LAG, STATUS
from ops.alerts.panels import Dashboard, Row, statuses, time_series
from ops.alerts.scoring import DEAD, late_share
from ops.alerts.workers import MODELS

RATE = "[$__rate_interval]"
_BUDGET = 1 - o.SCORED_IN_TIME_SHARE
_LATENCY = by_pipeline(f"rate(surgetank_end_to_end_seconds_bucket{RATE})", "le")
_EXPECTED = f"clamp_min(max by (group) (predict_linear({LAG}[5m], {o.CAPACITY_AHEAD_SECONDS})), 0)"
_DRAIN = "max by (group) (surgetank_group_drain_seconds < +Inf and surgetank_group_lag_seconds > 1)"

KEEPING_UP = Row(
    "Are we keeping up?",
    (
        time_series(
            "Lag, worst partition",
            "s",
            (f"max by (group) ({LAG})", "{{group}}"),
            description="Age of the oldest uncommitted event.",
            limit=o.LAG_SECONDS_MAX,
        ),
        time_series(
            "Events per second, received and scored",
            "ops",
            (by_pipeline(f"rate(surgetank_events_received_total{RATE})"), "{{pipeline}} received"),
            (by_pipeline(f"rate(surgetank_events_scored_total{RATE})"), "{{pipeline}} scored"),
        ),
        time_series(
            "Latency, 99th percentile",
            "s",
            (f"histogram_quantile(0.99, {_LATENCY})", "{{pipeline}}"),
            description="From the arrival of an event in Kafka to the commit of its score.",
            limit=o.SCORED_WITHIN_SECONDS,
        ),
        statuses("Lag status by group", f"max by (group) ({STATUS})", "{{group}}"),
        time_series(
            "Share of late events",
            "percentunit",
            (late_share("5m"), "{{pipeline}}"),
            description=f"Scored more than {o.SCORED_WITHIN_SECONDS:g} s after arrival, over five minutes.",
            limit=_BUDGET,
        ),
        time_series(
            "Dead letters per second",
            "ops",
            (f"sum by (pipeline, reason) ({DEAD}) > 0", "{{pipeline}} {{reason}}"),
        ),
    ),
)

WILL_WE = Row(
    "Will we?",
    (
        time_series(
            "Expected lag in 15 minutes",
            "s",
            (_EXPECTED, "{{group}}"),
            description="At the slope of the last five minutes.",
            limit=o.LAG_SECONDS_MAX,
        ),
        time_series(
            "Time to drain",
            "s",
            (_DRAIN, "{{group}}"),
            description="At the present rates, for lags above a second; a gap: the lag does not shrink.",
        ),
        time_series(
            "Burn rate",
            "short",
            (f"{late_share('1h')} / {_BUDGET:.4g}", "{{pipeline}} 1 h"),
            (f"{late_share('6h')} / {_BUDGET:.4g}", "{{pipeline}} 6 h"),
            description="Consumption of the month's error budget of late scores, relative to the objective.",
            limit=o.FAST_BURNS[0][2],
        ),
    ),
)

DONE_ABOUT_IT = Row(
    "What did the system do about it?",
    (
        time_series(
            "Workers",
            "short",
            ("count by (pipeline) (surgetank_worker_info)", "{{pipeline}} live"),
            (by_pipeline("surgetank_ready"), "{{pipeline}} ready"),
        ),
        time_series(
            "Rebalances and restores",
            "short",
            (by_pipeline(f"increase(surgetank_rebalances_total{RATE})", "change"), "{{pipeline}} {{change}}"),
            (by_pipeline("surgetank_restore_remaining_records"), "{{pipeline}} to restore"),
        ),
        time_series(
            "Transactions per second",
            "ops",
            (by_pipeline(f"rate(surgetank_transactions_total{RATE})", "outcome"), "{{pipeline}} {{outcome}}"),
        ),
        time_series(
            "Firing alerts",
            "short",
            ('count by (alertname, severity) (ALERTS{alertstate="firing"})', "{{severity}} {{alertname}}"),
        ),
        time_series(
            "Anomalies",
            "short",
            (f"max by (pipeline, signal) (surgetank_anomaly * {INFO}) > 0", "{{pipeline}} {{signal}}"),
        ),
        time_series("Workers by model version", "short", (MODELS, "{{pipeline}}: {{model}} {{version}}")),
    ),
)

OVERVIEW = Dashboard("surgetank-overview", "Surgetank: overview", (KEEPING_UP, WILL_WE, DONE_ABOUT_IT))
