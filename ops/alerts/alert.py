"""Alert rules and recording rules, and the aggregation of worker expressions by pipeline."""

from dataclasses import dataclass
from enum import StrEnum

# Series of a worker have no label pipeline: worker_info maps an instance to its pipeline.
INFO = "on (job, instance) group_left (pipeline) surgetank_worker_info"


class Severity(StrEnum):
    """The urgency and the receivers of an alert."""

    PAGE = "page"  # act now: events are late or not scored, or that is unknown
    TICKET = "ticket"  # act today
    NOTICE = "notice"  # e-mail: no objective is at risk


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A recording rule: an expression that other rules use."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class AlertRule:
    """An alert rule: its condition, and the texts of its notification.

    ``expr`` must be true for ``hold_seconds``. ``impact`` is for the consumers of the scores: one sentence without
    technical terms. ``subject_label`` is the label that names the subject: group, pipeline, instance, or '' for none.
    """

    name: str
    severity: Severity
    expr: str
    hold_seconds: int
    summary: str
    description: str
    impact: str
    subject_label: str = "pipeline"


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated together, in this order, every ``interval_seconds``."""

    name: str
    interval_seconds: int
    rules: tuple[RecordingRule | AlertRule, ...]


def by_pipeline(expr: str, *labels: str) -> str:
    """Return the sum of a worker expression by pipeline and by further labels."""
    return f"sum by ({', '.join(('pipeline', *labels))}) ({expr} * {INFO})"


def by_pipeline_over(expr: str, window: str) -> str:
    """Return the sum of a worker expression over a window by pipeline, including workers that have ended since.

    An address that served two pipelines in the window counts for one of them, because two matches are an error.
    """
    info = f"topk by (job, instance) (1, last_over_time(surgetank_worker_info[{window}]))"
    return f"sum by (pipeline) ({expr} * on (job, instance) group_left (pipeline) {info})"


def added_in_ten_minutes(counter: str) -> str:
    """Return what was added to a counter in the last ten minutes, also where its series began in that time.

    A series can begin with its first events: then there is no sample before them, which increase() would need.
    """
    return f"clamp_min({counter} - ({counter} offset 10m or 0 * {counter}), 0)"


def as_group(expr: str) -> str:
    """Return a worker expression with the label group: the group of a pipeline has the pipeline's name."""
    return f'label_replace({expr} * {INFO}, "group", "$1", "pipeline", "(.+)")'
