"""Judges a schema registry by the schemas of a pipeline's topics. Pure."""

from collections.abc import Sequence

from surgetank.codec.schema_plan import PlannedSubject, SubjectStatus
from surgetank.doctor.finding import CheckFinding, ok, problem, warning


def unavailable(url: str, error: str) -> CheckFinding:
    """Judge a registry that did not answer: workers go on with the ids that they know, and others wait."""
    return problem("registry", error, f"start the registry at {url}, or correct the settings schema_registry.*")


def subjects(pipeline: str, url: str, planned: Sequence[PlannedSubject]) -> CheckFinding:
    """Judge what the registry at ``url`` has of the schemas of a pipeline's topics."""
    if refused := [each.schema.subject for each in planned if each.status is SubjectStatus.REFUSED]:
        return warning(
            "registry",
            f"{url} has schemas that ours do not fit: {', '.join(refused)}",
            f"surgetank schemas plan {pipeline}; correct the schemas, or the compatibility levels of the subjects",
        )
    if missing := [each.schema.subject for each in planned if each.status is not SubjectStatus.REGISTERED]:
        return warning(
            "registry",
            f"{url} does not have our schemas of {', '.join(missing)}",
            f"surgetank schemas apply {pipeline}, then restart its workers: others cannot read its scores",
        )
    return ok("registry", f"{url} has the schemas of pipeline {pipeline!r}")
