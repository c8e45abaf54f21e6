"""Alerts on lag: in seconds, on its slope, on partitions that do not move, and on capacity that will run out.

Each worker tells of its own partitions; the exporter tells of all, also when no worker lives. Where both tell, the
worse counts.
"""

from ops.alerts import objectives as o
from ops.alerts.alert import AlertRule, RecordingRule, Rules, Severity, as_group

LAG = "surgetank:lag_seconds"
STATUS = "surgetank:lag_status"
STALL, STOP = 2, 3


def _worse(worker: str, exporter: str) -> str:
    both = f'{as_group(worker)} or {exporter}{{group=~"{o.GROUPS}"}}'
    return f"max by (group, topic, partition) ({both})"


RULES = Rules(
    "surgetank-lag",
    o.LAG_EVALUATION_SECONDS,
    (
        RecordingRule(LAG, _worse("surgetank_lag_seconds", "surgetank_group_lag_seconds")),
        RecordingRule(STATUS, _worse("surgetank_lag_status", "surgetank_group_lag_status")),
        AlertRule(
            "LagSecondsHigh",
            Severity.PAGE,
            f"max by (group) ({LAG}) > {o.LAG_SECONDS_MAX:g}",
            30,
            "{{ $labels.group }} is {{ humanizeDuration $value }} behind",
            "The oldest event that group {{ $labels.group }} has not committed waits for "
            f"{{{{ humanizeDuration $value }}}}; {o.LAG_SECONDS_MAX:g} s is the objective.",
            "Scores of {{ $labels.group }} arrive late. None is lost.",
            about="group",
        ),
        AlertRule(
            "LagGrowing",
            Severity.PAGE,
            f"max by (group) (deriv({LAG}[2m]) > {o.LAG_SLOPE_MAX:g} and {LAG} > {o.LAG_SECONDS_NOTED:g})",
            60,
            "{{ $labels.group }} falls behind: its lag grows",
            "The lag of the worst partition of group {{ $labels.group }} grows by {{ $value | printf `%.2f` }} seconds "
            f"each second, more than {o.LAG_SLOPE_MAX:g}, and is above {o.LAG_SECONDS_NOTED:g} s.",
            "Scores of {{ $labels.group }} will soon arrive late. None is lost.",
            about="group",
        ),
        AlertRule(
            "CapacityRunsOut",
            Severity.TICKET,
            f"max by (group) (predict_linear({LAG}[5m], {o.CAPACITY_AHEAD_SECONDS}) > {o.LAG_SECONDS_MAX:g}"
            f" and deriv({LAG}[5m]) > 0 and {LAG} > 1)",
            120,
            "{{ $labels.group }} runs out of capacity within a quarter of an hour",
            f"At the slope of the last five minutes the lag of group {{{{ $labels.group }}}} is "
            f"{{{{ humanizeDuration $value }}}} in {o.CAPACITY_AHEAD_SECONDS // 60} minutes; "
            f"{o.LAG_SECONDS_MAX:g} s is the objective.",
            "Scores of {{ $labels.group }} may arrive late soon. None is lost.",
            about="group",
        ),
        AlertRule(
            "PartitionStalled",
            Severity.PAGE,
            f"count by (group, topic) ({STATUS} == {STALL})",
            0,
            "{{ $labels.group }} stands still on {{ $value }} partition(s) of {{ $labels.topic }}",
            "Group {{ $labels.group }} has workers, but for half a minute nothing of {{ $value }} partition(s) of "
            "topic {{ $labels.topic }} was committed, while events wait.",
            "A part of the scores of {{ $labels.group }} does not arrive at all. Nothing is lost.",
            about="group",
        ),
        AlertRule(
            "PartitionStopped",
            Severity.PAGE,
            f"count by (group, topic) ({STATUS} == {STOP})",
            0,
            "Nobody works on {{ $value }} partition(s) of {{ $labels.topic }} for {{ $labels.group }}",
            "Group {{ $labels.group }} has no worker any more: for half a minute nothing of {{ $value }} "
            "partition(s) of topic {{ $labels.topic }} was committed, while events wait.",
            "A part of the scores of {{ $labels.group }} does not arrive at all. Nothing is lost.",
            about="group",
        ),
    ),
)
