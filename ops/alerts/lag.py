"""Alerts on lag: in seconds, on its slope, on partitions without progress, and on capacity that will run out.

Each worker exports its own partitions; the exporter exports all, also without a live worker. Of two values the worse
one counts.
"""

from ops.alerts import objectives as o
from ops.alerts.alert import AlertRule, RecordingRule, RuleGroup, Severity, as_group

LAG = "surgetank:lag_seconds"
STATUS = "surgetank:lag_status"
STALL, STOP = 2, 3


def _worse_of(worker: str, exporter: str) -> str:
    both = f'{as_group(worker)} or {exporter}{{group=~"{o.GROUPS}"}}'
    return f"max by (group, topic, partition) ({both})"


_OPEN = _worse_of("surgetank_open_transaction_seconds", "surgetank_group_open_transaction_seconds")


def _transaction_rule(name: str, severity: Severity, seconds: int, what_follows: str) -> AlertRule:
    return AlertRule(
        name,
        severity,
        f"max by (group, topic) ({_OPEN}) > {seconds}",
        0,
        "{{ $labels.group }} waits for a transaction on {{ $labels.topic }} that is open for "
        "{{ humanizeDuration $value }}",
        "A producer has begun a transaction and not ended it: the last stable offset of a partition of topic "
        "{{ $labels.topic }} has stood still below its high watermark for {{ humanizeDuration $value }}. Records "
        f"behind it cannot be read; they do not count as lag. {what_follows}",
        "Some events of {{ $labels.topic }} are not scored until their producer ends a transaction. None is lost.",
        subject_label="group",
    )


RULES = RuleGroup(
    "surgetank-lag",
    o.LAG_EVALUATION_SECONDS,
    (
        RecordingRule(LAG, _worse_of("surgetank_lag_seconds", "surgetank_group_lag_seconds")),
        RecordingRule(STATUS, _worse_of("surgetank_lag_status", "surgetank_group_lag_status")),
        AlertRule(
            "LagSecondsHigh",
            Severity.PAGE,
            f"max by (group) ({LAG}) > {o.LAG_SECONDS_MAX:g}",
            30,
            "{{ $labels.group }} is {{ humanizeDuration $value }} behind",
            "The oldest uncommitted event of group {{ $labels.group }} has waited for "
            f"{{{{ humanizeDuration $value }}}}; the objective is {o.LAG_SECONDS_MAX:g} s.",
            "Scores of {{ $labels.group }} arrive late. None is lost.",
            subject_label="group",
        ),
        AlertRule(
            "LagGrowing",
            Severity.PAGE,
            f"max by (group) (deriv({LAG}[2m]) > {o.LAG_SLOPE_MAX:g} and {LAG} > {o.LAG_SECONDS_NOTED:g})",
            60,
            "The lag of {{ $labels.group }} grows",
            "The lag of the worst partition of group {{ $labels.group }} grows by {{ $value | printf `%.2f` }} seconds "
            f"each second, more than {o.LAG_SLOPE_MAX:g}, and is above {o.LAG_SECONDS_NOTED:g} s.",
            "Scores of {{ $labels.group }} will soon arrive late. None is lost.",
            subject_label="group",
        ),
        AlertRule(
            "CapacityRunsOut",
            Severity.TICKET,
            f"max by (group) (predict_linear({LAG}[5m], {o.CAPACITY_AHEAD_SECONDS}) > {o.LAG_SECONDS_MAX:g}"
            f" and deriv({LAG}[5m]) > 0 and {LAG} > 1)",
            120,
            "{{ $labels.group }} runs out of capacity within 15 minutes",
            f"At the slope of the last five minutes the lag of group {{{{ $labels.group }}}} will be "
            f"{{{{ humanizeDuration $value }}}} in {o.CAPACITY_AHEAD_SECONDS // 60} minutes; "
            f"the objective is {o.LAG_SECONDS_MAX:g} s.",
            "Scores of {{ $labels.group }} may arrive late soon. None is lost.",
            subject_label="group",
        ),
        _transaction_rule(
            "EventsWaitForTransaction",
            Severity.TICKET,
            o.OPEN_TRANSACTION_SECONDS_NOTED,
            "Its producer may end it yet.",
        ),
        _transaction_rule(
            "TransactionLeftOpen",
            Severity.PAGE,
            o.OPEN_TRANSACTION_SECONDS_MAX,
            "By now the brokers have ended the transaction of any producer that is gone, unless their "
            "transaction.max.timeout.ms is higher than its default.",
        ),
        AlertRule(
            "PartitionStalled",
            Severity.PAGE,
            f"count by (group, topic) ({STATUS} == {STALL})",
            0,
            "{{ $labels.group }} makes no progress on {{ $value }} partition(s) of {{ $labels.topic }}",
            "Group {{ $labels.group }} has workers, but has committed nothing for 30 s on {{ $value }} partition(s) of "
            "topic {{ $labels.topic }} that have lag.",
            "Some scores of {{ $labels.group }} do not arrive. No event is lost.",
            subject_label="group",
        ),
        AlertRule(
            "PartitionStopped",
            Severity.PAGE,
            f"count by (group, topic) ({STATUS} == {STOP})",
            0,
            "{{ $labels.group }} has no worker for {{ $value }} partition(s) of {{ $labels.topic }}",
            "Group {{ $labels.group }} has no worker: it has committed nothing for 30 s on {{ $value }} "
            "partition(s) of topic {{ $labels.topic }} that have lag.",
            "Some scores of {{ $labels.group }} do not arrive. No event is lost.",
            subject_label="group",
        ),
    ),
)
