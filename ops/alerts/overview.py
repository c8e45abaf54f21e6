"""The overview: are we keeping up, will we, and what did the system do about it?"""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO, by_pipeline
from ops.alerts.lag import LAG, STATUS
from ops.alerts.panels import Board, Row, show, statuses
from ops.alerts.scoring import DEAD, late_share

RATE = "[$__rate_interval]"
_BUDGET = 1 - o.SCORED_IN_TIME_SHARE
_LATENCY = by_pipeline(f"rate(surgetank_end_to_end_seconds_bucket{RATE})", "le")
_EXPECTED = f"clamp_min(max by (group) (predict_linear({LAG}[5m], {o.CAPACITY_AHEAD_SECONDS})), 0)"
_DRAIN = "max by (group) (surgetank_group_drain_seconds < +Inf and surgetank_group_lag_seconds > 1)"
_ANSWER = f"count by (pipeline, model, version) (surgetank_model_info * {INFO})"

KEEPING_UP = Row(
    "Are we keeping up?",
    (
        show(
            "Lag, worst partition",
            "s",
            (f"max by (group) ({LAG})", "{{group}}"),
            about="Age of the oldest event that is not committed.",
            limit=o.LAG_SECONDS_MAX,
        ),
        show(
            "Events in and scored, a second",
            "ops",
            (by_pipeline(f"rate(surgetank_events_received_total{RATE})"), "{{pipeline}} in"),
            (by_pipeline(f"rate(surgetank_events_scored_total{RATE})"), "{{pipeline}} scored"),
        ),
        show(
            "Latency, 99 of 100",
            "s",
            (f"histogram_quantile(0.99, {_LATENCY})", "{{pipeline}}"),
            about="From the arrival of an event in Kafka to the commit of its score.",
            limit=o.SCORED_WITHIN_SECONDS,
        ),
        statuses("How each group does", f"max by (group) ({STATUS})", "{{group}}"),
        show(
            "Late, share of events",
            "percentunit",
            (late_share("5m"), "{{pipeline}}"),
            about=f"Scored later than {o.SCORED_WITHIN_SECONDS:g} s after their arrival, over five minutes.",
            limit=_BUDGET,
        ),
        show(
            "Cannot be scored, a second",
            "ops",
            (f"sum by (pipeline, reason) ({DEAD}) > 0", "{{pipeline}} {{reason}}"),
        ),
    ),
)

WILL_WE = Row(
    "Will we?",
    (
        show(
            "Lag in a quarter of an hour",
            "s",
            (_EXPECTED, "{{group}}"),
            about="At the slope of the last five minutes.",
            limit=o.LAG_SECONDS_MAX,
        ),
        show(
            "Until the lag is worked off",
            "s",
            (_DRAIN, "{{group}}"),
            about="At the present rates, where it is more than a second; a gap is where it does not shrink.",
        ),
        show(
            "Burn rate",
            "short",
            (f"{late_share('1h')} / {_BUDGET:.4g}", "{{pipeline}} 1 h"),
            (f"{late_share('6h')} / {_BUDGET:.4g}", "{{pipeline}} 6 h"),
            about="How many times too fast the month's budget of late scores is used up.",
            limit=o.FAST_BURNS[0][2],
        ),
    ),
)

DONE_ABOUT_IT = Row(
    "What did the system do about it?",
    (
        show(
            "Workers",
            "short",
            ("count by (pipeline) (surgetank_worker_info)", "{{pipeline}} live"),
            (by_pipeline("surgetank_ready"), "{{pipeline}} ready"),
        ),
        show(
            "Partitions that move",
            "short",
            (by_pipeline(f"increase(surgetank_rebalances_total{RATE})", "change"), "{{pipeline}} {{change}}"),
            (by_pipeline("surgetank_restore_remaining_records"), "{{pipeline}} to restore"),
        ),
        show(
            "Transactions, a second",
            "ops",
            (by_pipeline(f"rate(surgetank_transactions_total{RATE})", "outcome"), "{{pipeline}} {{outcome}}"),
        ),
        show(
            "Alerts that fire",
            "short",
            ('count by (alertname, severity) (ALERTS{alertstate="firing"})', "{{severity}} {{alertname}}"),
        ),
        show(
            "Unusual",
            "short",
            (f"max by (pipeline, signal) (surgetank_anomaly * {INFO}) > 0", "{{pipeline}} {{signal}}"),
        ),
        show("Workers by the model that answers", "short", (_ANSWER, "{{pipeline}}: {{model}} {{version}}")),
    ),
)

OVERVIEW = Board("surgetank-overview", "Surgetank: overview", (KEEPING_UP, WILL_WE, DONE_ABOUT_IT))
