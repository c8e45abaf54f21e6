"""Alerts on workers, transactions, state, and on the lag exporter."""

from ops.alerts import objectives as o
from ops.alerts.alert import INFO, AlertRule, RuleGroup, Severity, by_pipeline

_ENDED = "rate(surgetank_transactions_total[5m])"
_ABORTED = by_pipeline('rate(surgetank_transactions_total{outcome!="committed"}[5m])')
_REBALANCES = 'increase(surgetank_rebalances_total{change="assigned"}[15m])'
MODELS = f'count by (pipeline, model, version) (surgetank_model_info{{role="primary"}} * {INFO})'
_HALF_FULL = o.STATE_DISK_BYTES_MAX // 2

RULES = RuleGroup(
    "surgetank-workers",
    o.EVALUATION_SECONDS,
    (
        AlertRule(
            "WorkerNotReady",
            Severity.TICKET,
            f'up{{job="{o.WORKERS_JOB}"}} == 0 or surgetank_ready{{job="{o.WORKERS_JOB}"}} == 0',
            o.NOT_READY_SECONDS,
            "Worker {{ $labels.instance }} is not ready",
            "The worker at {{ $labels.instance }} has not answered, or not been ready, for "
            f"{o.NOT_READY_SECONDS} s. Its /ready page shows the reason. Other workers process its partitions.",
            "None yet: other workers do the work.",
            subject_label="instance",
        ),
        AlertRule(
            "WorkerRestarts",
            Severity.TICKET,
            f'changes(process_start_time_seconds{{job=~"{o.WORKERS_JOB}|{o.EXPORTER_JOB}"}}[15m]) >= {o.RESTARTS_MAX}',
            0,
            "{{ $labels.instance }} was started {{ $value }} times in 15 minutes",
            "The process at {{ $labels.instance }} ({{ $labels.job }}) was started {{ $value }} times in "
            "15 minutes; a deploy starts it once. The exit status is the reason: 2 configuration or environment, "
            "3 too many dead letters, 4 stuck, 5 duplicate worker name, 6 state directory full, "
            "7 output refused by the brokers.",
            "Scores may arrive a little later than usual. None is lost.",
            subject_label="instance",
        ),
        AlertRule(
            "RebalanceStorm",
            Severity.TICKET,
            f"max by (pipeline) ({_REBALANCES} * {INFO})"
            f" > {o.REBALANCES_MAX} + 4 * count by (pipeline) (surgetank_worker_info)",
            0,
            "{{ $labels.pipeline }} rebalances repeatedly",
            "A worker of pipeline {{ $labels.pipeline }} took part in {{ $value | printf `%.0f` }} rebalances in "
            f"15 minutes; {o.REBALANCES_MAX} and four per worker are allowed, a deploy causes two per worker.",
            "Scores of {{ $labels.pipeline }} may arrive a little later than usual. None is lost.",
        ),
        AlertRule(
            "ModelVersionsMixed",
            Severity.TICKET,
            f"count by (pipeline) ({MODELS}) > 1",
            o.MODEL_ROLLOUT_SECONDS,
            "Workers of {{ $labels.pipeline }} serve {{ $value }} versions of its model",
            "Workers of pipeline {{ $labels.pipeline }} have served {{ $value }} different models or versions for more "
            f"than {o.MODEL_ROLLOUT_SECONDS // 60} minutes; a rolling restart takes less. Which of them scores an "
            "event depends on the partition of its key.",
            "Scores of {{ $labels.pipeline }} come from different versions of the model. None is lost.",
        ),
        AlertRule(
            "TransactionsAborted",
            Severity.TICKET,
            f"{_ABORTED} / {by_pipeline(_ENDED)} > {o.ABORTED_SHARE_MAX:g}"
            f" and {_ABORTED} > {o.ABORTED_PER_SECOND_MIN:g}",
            300,
            "{{ $value | humanizePercentage }} of the transactions of {{ $labels.pipeline }} are aborted",
            "{{ $value | humanizePercentage }} of the transactions of pipeline {{ $labels.pipeline }} ended without a "
            f"commit over five minutes; {o.ABORTED_SHARE_MAX:.0%} is allowed. Their work is repeated.",
            "Scores of {{ $labels.pipeline }} may arrive a little later than usual. None is lost.",
        ),
        AlertRule(
            "RestoreTakesLong",
            Severity.TICKET,
            f"{by_pipeline('surgetank_restore_remaining_records')} > 0",
            o.RESTORE_SECONDS_MAX,
            "{{ $labels.pipeline }} has restored state for more than two minutes",
            "{{ $value | humanize }} records remain to be read to restore all tasks of pipeline {{ $labels.pipeline }} "
            f"after {o.RESTORE_SECONDS_MAX} s. The events of these tasks wait.",
            "Some scores of {{ $labels.pipeline }} arrive late. None is lost.",
        ),
        AlertRule(
            "DiskFillsUp",
            Severity.TICKET,
            f"predict_linear(surgetank_state_disk_bytes[1h], {o.DISK_AHEAD_SECONDS}) > {o.STATE_DISK_BYTES_MAX}"
            f" and surgetank_state_disk_bytes > {_HALF_FULL}",
            900,
            "The state of worker {{ $labels.instance }} fills its disk within hours",
            "At the slope of the last hour the state of the worker at {{ $labels.instance }} will take "
            f"{{{{ $value | humanize1024 }}}}B in {o.DISK_AHEAD_SECONDS // 3600} hours; "
            f"{o.STATE_DISK_BYTES_MAX // 2**30} GiB is its limit.",
            "None yet.",
            subject_label="instance",
        ),
        AlertRule(
            "ExporterDown",
            Severity.PAGE,
            "absent(surgetank_exporter_up == 1)",
            60,
            "The lag is unknown: the exporter is down or Kafka does not answer it",
            "No lag exporter has had an answer from Kafka for a minute. Meanwhile no alert fires for a pipeline "
            "without a live worker. The lag is unknown, not zero.",
            "Unknown: it cannot be seen whether scores arrive in time.",
            subject_label="",
        ),
    ),
)
