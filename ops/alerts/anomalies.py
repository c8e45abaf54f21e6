"""Alerts on what is unusual: the workers' detectors say so, and the reason is in their log and on the timeline."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO, AlertRule, Rules, Severity

_HOLD_SECONDS = 30  # the detectors wait by themselves until they are sure


def _unusual(name: str, signals: str, what: str, impact: str) -> AlertRule:
    return AlertRule(
        name,
        Severity.NOTICE,
        f'max by (pipeline, signal) (surgetank_anomaly{{signal=~"{signals}"}} * {INFO}) == 1',
        _HOLD_SECONDS,
        f"{what} of {{{{ $labels.pipeline }}}} is unusual",
        f"{what} of pipeline {{{{ $labels.pipeline }}}} is not what it was at this time before "
        "(signal {{ $labels.signal }}, {{ $value }} = unusual). The worker's log has the figures.",
        impact,
    )


RULES = Rules(
    "surgetank-anomalies",
    o.EVALUATION_SECONDS,
    (
        _unusual("AnomalyArrivalRate", "arrival_rate", "The rate of events", "Nothing yet."),
        _unusual("AnomalyLatency", "latency", "The latency of scores", "Scores may arrive later than usual."),
        _unusual("AnomalyErrorRate", "error_rate", "The share of failures", "A few events may get no score."),
        _unusual(
            "AnomalyScores",
            "score_psi|score_ks",
            "The distribution of scores",
            "Scores of {{ $labels.pipeline }} are unlike those of before; use them with care.",
        ),
        _unusual(
            "AnomalyInputs",
            "missing:.+",
            "The share of missing inputs",
            "Scores of {{ $labels.pipeline }} may be less exact than usual.",
        ),
    ),
)
