"""Alerts on what surrounds the workers: other members of their group, offsets that others set, producers, clocks."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO, AlertRule, RuleGroup, Severity, added_in_ten_minutes, by_pipeline

_FACTS = "surgetank_copartitioning"
_UNDECIDED = (
    f"min_over_time({_FACTS}[{o.PARTITIONER_UNKNOWN_HOURS}h]) == 1 and {_FACTS} offset {o.PARTITIONER_UNKNOWN_HOURS}h"
)

RULES = RuleGroup(
    "surgetank-environment",
    o.EVALUATION_SECONDS,
    (
        AlertRule(
            "ForeignGroupMember",
            Severity.PAGE,
            f"max by (pipeline) (surgetank_foreign_members * {INFO}) > 0",
            30,
            "{{ $value }} consumers that are no workers are in the group of {{ $labels.pipeline }}",
            "The consumer group of pipeline {{ $labels.pipeline }} has {{ $value }} members that are no workers of it. "
            "Nobody scores the events of the partitions that they hold. The workers' logs name client id and host.",
            "Some scores of {{ $labels.pipeline }} do not arrive.",
        ),
        AlertRule(
            "OffsetsSetByOthers",
            Severity.TICKET,
            f"{by_pipeline(added_in_ten_minutes('surgetank_foreign_offsets_total'))} > 0",
            0,
            "Offsets of {{ $value | printf `%.0f` }} partitions of {{ $labels.pipeline }} were not set by a worker",
            "In the last ten minutes workers of pipeline {{ $labels.pipeline }} found {{ $value | printf `%.0f` }} "
            "committed offsets that no worker had committed. Events may have been skipped, or scored again: "
            "surgetank_events_skipped_total, surgetank_events_repeated_total, and the workers' logs.",
            "Some events of {{ $labels.pipeline }} may have no score, or two.",
        ),
        AlertRule(
            "FactsPartitioner",
            Severity.TICKET,
            f"max by (pipeline, topic) (({_FACTS} == 2 or {_UNDECIDED}) * {INFO})",
            0,
            "Facts of {{ $labels.topic }} may not be in the partitions of the events of {{ $labels.pipeline }}",
            "The keys of {{ $labels.topic }} are partitioned otherwise than those of the events of pipeline "
            "{{ $labels.pipeline }} (value 2), or the samples have not shown it for "
            f"{o.PARTITIONER_UNKNOWN_HOURS} h (value 1). Value: {{{{ $value }}}}.",
            "Scores of {{ $labels.pipeline }} may be made without facts.",
        ),
        AlertRule(
            "WorkerClockWrong",
            Severity.TICKET,
            f"abs(surgetank_clock_difference_seconds) > {o.CLOCK_DIFFERENCE_SECONDS_MAX}",
            60,
            "The clock of worker {{ $labels.instance }} differs by {{ humanizeDuration $value }}",
            "The clock of the worker at {{ $labels.instance }} differs from those of the brokers or of the events' "
            "producers by {{ humanizeDuration $value }}: it is wrong, or those are. Lag and latency are corrected.",
            "None: scores do not depend on it.",
            subject_label="instance",
        ),
    ),
)
