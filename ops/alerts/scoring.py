"""Alerts on the objectives of scoring: the share of late scores and the share of events without a score.

Burn rates over several windows follow Google's Site Reliability Workbook, chapter 5, "6: Multiwindow, Multi-Burn-Rate
Alerts": the long window shows the significance, the short one that the burn continues. Time before Prometheus started
counts as good; otherwise a short disturbance after its start would count as an hour. In its first two minutes the rate
of all events is unknown, and no alert fires.
"""

from ops.alerts import objectives as o
from ops.alerts.alert import (
    AlertRule,
    RecordingRule,
    RuleGroup,
    Severity,
    added_in_ten_minutes,
    by_pipeline,
    by_pipeline_over,
)

TIMED = "surgetank:events_timed:rate2m"
SCORED = "surgetank:events_scored:rate2m"
DEAD = "surgetank:events_dead:rate2m"
SHORT_SECONDS = {"5m": 300, "30m": 1800, "2h": 7200, "6h": 21_600}
_BUCKET = f'surgetank_end_to_end_seconds_bucket{{le="{o.SCORED_WITHIN_SECONDS}"}}'


def late(window: str) -> str:
    """Return the name of the recorded rate of late events over a window."""
    return f"surgetank:events_late:rate{window}"


def late_share(window: str) -> str:
    """Return the share of events with a late score over a window."""
    return f"{late(window)} / avg_over_time({TIMED}[{window}])"


def _late(window: str) -> RecordingRule:
    every, in_time = f"rate(surgetank_end_to_end_seconds_count[{window}])", f"rate({_BUCKET}[{window}])"
    return RecordingRule(late(window), f"{by_pipeline_over(every, window)} - {by_pipeline_over(in_time, window)}")


def _burns(long: str, short: str, factor: float) -> str:
    share = factor * (1 - o.SCORED_IN_TIME_SHARE)
    few = f"{late(short)} * {SHORT_SECONDS[short]} > {o.LATE_EVENTS_MIN}"
    return f"({late_share(long)} > {share:.4g} and {late_share(short)} > {share:.4g} and {few} and {TIMED} offset 2m)"


def _dead_of(reason: str) -> str:
    return f'{DEAD}{{reason="{reason}"}}'


_IMPLAUSIBLE = by_pipeline("rate(surgetank_implausible_times_total[5m])", "topic")
_RECEIVED = by_pipeline("rate(surgetank_events_received_total[5m])", "topic")
_EXPIRED = added_in_ten_minutes("surgetank_events_expired_total")
_OBJECTIVE = f"{o.SCORED_IN_TIME_SHARE:.1%} within {o.SCORED_WITHIN_SECONDS:g} s"
_ALL = f"(sum by (pipeline) ({DEAD}) + ({SCORED} or 0 * sum by (pipeline) ({DEAD})))"

RULES = RuleGroup(
    "surgetank-scoring",
    o.EVALUATION_SECONDS,
    (
        RecordingRule(TIMED, by_pipeline("rate(surgetank_end_to_end_seconds_count[2m])")),
        *(_late(window) for window in ("5m", "30m", "1h", "6h")),
        RecordingRule(SCORED, by_pipeline("rate(surgetank_events_scored_total[2m])")),
        RecordingRule(DEAD, by_pipeline("rate(surgetank_events_dead_total[2m])", "reason")),
        AlertRule(
            "ScoredLateFastBurn",
            Severity.PAGE,
            " or ".join(_burns(*burn) for burn in o.FAST_BURNS),
            0,
            "{{ $labels.pipeline }} scores {{ $value | humanizePercentage }} of events late",
            f"{{{{ $value | humanizePercentage }}}} of the events of pipeline {{{{ $labels.pipeline }}}} were scored "
            f"late; the objective is {_OBJECTIVE}. At this rate a month's error budget lasts two to five days.",
            "Scores of {{ $labels.pipeline }} arrive late. None is lost.",
        ),
        AlertRule(
            "DeadLetterShareHigh",
            Severity.PAGE,
            f"sum by (pipeline) ({DEAD}) / {_ALL} > {o.DEAD_SHARE_MAX:g}"
            f" and sum by (pipeline) ({DEAD}) > {o.DEAD_PER_SECOND_MIN:g}",
            30,
            "{{ $value | humanizePercentage }} of the events of {{ $labels.pipeline }} cannot be scored",
            "{{ $value | humanizePercentage }} of the events of pipeline {{ $labels.pipeline }} became dead letters in "
            f"the last two minutes; {o.DEAD_SHARE_MAX:.0%} is allowed. They are kept with the reason.",
            "Some events of {{ $labels.pipeline }} get no score. They are kept.",
        ),
        AlertRule(
            "EventsExpired",
            Severity.PAGE,
            f"{by_pipeline(_EXPIRED)} > 0",
            0,
            "{{ $value | printf `%.0f` }} events of {{ $labels.pipeline }} were deleted before they were read",
            "Retention deleted {{ $value | printf `%.0f` }} events or facts of pipeline {{ $labels.pipeline }} before "
            "a worker read them, in the last ten minutes. They have no score and no dead letter.",
            "Some events of {{ $labels.pipeline }} are lost without a score.",
        ),
        AlertRule(
            "ModelErrors",
            Severity.TICKET,
            f"avg_over_time({_dead_of('model_error')}[5m]) * 300 > {o.MODEL_ERRORS_MAX}",
            60,
            "The model of {{ $labels.pipeline }} raises errors",
            "The model of pipeline {{ $labels.pipeline }} raised an error for {{ $value | printf `%.0f` }} events in "
            f"five minutes; {o.MODEL_ERRORS_MAX} are allowed. They became dead letters.",
            "A few events of {{ $labels.pipeline }} get no score. They are kept.",
        ),
        AlertRule(
            "NotANumberShareHigh",
            Severity.TICKET,
            f"avg_over_time({_dead_of('not_a_number')}[5m]) / on (pipeline) group_left avg_over_time({TIMED}[5m])"
            f" > {o.NOT_A_NUMBER_SHARE_MAX:g}",
            120,
            "The model of {{ $labels.pipeline }} returns NaN",
            "For {{ $value | humanizePercentage }} of the events of pipeline {{ $labels.pipeline }} the model returned "
            f"NaN or infinity over five minutes; {o.NOT_A_NUMBER_SHARE_MAX:.1%} is allowed. They became dead letters.",
            "A few events of {{ $labels.pipeline }} get no score. They are kept.",
        ),
        AlertRule(
            "ImplausibleTimes",
            Severity.TICKET,
            f"{_IMPLAUSIBLE} / {_RECEIVED} > {o.IMPLAUSIBLE_SHARE_MAX:g}"
            f" and {_IMPLAUSIBLE} * 300 > {o.IMPLAUSIBLE_MAX}",
            120,
            "Events of {{ $labels.pipeline }} have times far from their arrival",
            "{{ $value | humanizePercentage }} of the records of {{ $labels.topic }} had event times too far from "
            f"their arrival over five minutes; {o.IMPLAUSIBLE_SHARE_MAX:.0%} is allowed. They do not update the tables "
            "of pipeline {{ $labels.pipeline }}.",
            "Scores of {{ $labels.pipeline }} are made without the latest state.",
        ),
    ),
)

SLOW = RuleGroup(
    "surgetank-scoring-slow",
    300,
    (
        *(_late(window) for window in ("2h", "1d", "3d")),
        AlertRule(
            "ScoredLateSlowBurn",
            Severity.NOTICE,
            " or ".join(_burns(*burn) for burn in o.SLOW_BURNS),
            0,
            "{{ $labels.pipeline }} will miss its objective this month",
            f"{{{{ $value | humanizePercentage }}}} of the events of pipeline {{{{ $labels.pipeline }}}} were scored "
            f"late over a day or more; the objective is {_OBJECTIVE}.",
            "Scores of {{ $labels.pipeline }} are late more often than promised.",
        ),
    ),
)
