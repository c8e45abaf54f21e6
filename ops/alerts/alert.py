"""What an alert and a recording rule are, and how expressions of workers become expressions of pipelines."""

from dataclasses import dataclass
from enum import StrEnum

# The worker's page does not repeat its pipeline in every series: worker_info names it once.
INFO = "on (job, instance) group_left (pipeline) surgetank_worker_info"


class Severity(StrEnum):
    """Who is told, and how urgently."""

    PAGE = "page"  # somebody gets up now: events are late, lost to scoring, or nobody can see whether they are
    TICKET = "ticket"  # somebody looks today
    NOTICE = "notice"  # by e-mail: worth knowing, nothing is promised to break


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """A recording rule: an expression that others build on, worked out once."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When somebody is told, and what.

    ``expr`` must hold for ``hold_seconds``. ``impact`` is for those who wait for scores: one sentence without a term
    of the trade. ``about`` is the label that names what it is about: group, pipeline, instance, or none.
    """

    name: str
    severity: Severity
    expr: str
    hold_seconds: int
    summary: str
    description: str
    impact: str
    about: str = "pipeline"


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules that are worked out together, in this order, so often."""

    name: str
    interval_seconds: int
    rules: tuple[RecordingRule | AlertRule, ...]


def by_pipeline(expr: str, *labels: str) -> str:
    """Return the sum of a per-worker expression by pipeline, and by further labels."""
    return f"sum by ({', '.join(('pipeline', *labels))}) ({expr} * {INFO})"


def by_pipeline_over(expr: str, window: str) -> str:
    """Return the sum of a per-worker expression over a window by pipeline, also of workers that are gone by now.

    An address that served two pipelines in the window counts for one of them: two would be an error.
    """
    info = f"topk by (job, instance) (1, last_over_time(surgetank_worker_info[{window}]))"
    return f"sum by (pipeline) ({expr} * on (job, instance) group_left (pipeline) {info})"


def as_group(expr: str) -> str:
    """Return a per-worker expression with the label group: a pipeline's workers are one group of the same name."""
    return f'label_replace({expr} * {INFO}, "group", "$1", "pipeline", "(.+)")'
