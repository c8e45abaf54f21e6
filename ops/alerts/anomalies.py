"""Alerts on anomalies that the workers detect; the reason is in the worker's log and on the timeline."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO, AlertRule, RuleGroup, Severity

_HOLD_SECONDS = 30  # the detectors have their own delay


def _anomaly_rule(name: str, signals: str, subject: str, impact: str) -> AlertRule:
    return AlertRule(
        name,
        Severity.NOTICE,
        f'max by (pipeline, signal) (surgetank_anomaly{{signal=~"{signals}"}} * {INFO}) == 1',
        _HOLD_SECONDS,
        f"{subject} of {{{{ $labels.pipeline }}}} is unusual",
        f"{subject} of pipeline {{{{ $labels.pipeline }}}} differs from its baseline "
        "(signal {{ $labels.signal }}, value {{ $value }}). The worker's log has the figures.",
        impact,
    )


RULES = RuleGroup(
    "surgetank-anomalies",
    o.EVALUATION_SECONDS,
    (
        _anomaly_rule("AnomalyArrivalRate", "arrival_rate", "The rate of events", "None yet."),
        _anomaly_rule("AnomalyLatency", "latency", "The latency of scores", "Scores may arrive later than usual."),
        _anomaly_rule("AnomalyErrorRate", "error_rate", "The share of failures", "A few events may get no score."),
        _anomaly_rule(
            "AnomalyScores",
            "score_psi|score_ks",
            "The distribution of scores",
            "Scores of {{ $labels.pipeline }} are distributed differently than before; use them with care.",
        ),
        _anomaly_rule(
            "AnomalyInputs",
            "missing:.+",
            "The share of missing inputs",
            "Scores of {{ $labels.pipeline }} may be less accurate than usual.",
        ),
    ),
)
