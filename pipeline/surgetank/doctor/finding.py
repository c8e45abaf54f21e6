"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class CheckSeverity(StrEnum):
    """How bad a finding is: a worker cannot run with a problem; a check that could not be made is skipped."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """The result of one check: what was found, and for a warning or a problem what to do."""

    check: str
    severity: CheckSeverity
    found: str
    advice: str = ""


def ok(check: str, found: str) -> CheckFinding:
    """Return a finding that needs no action."""
    return CheckFinding(check, CheckSeverity.OK, found)


def warning(check: str, found: str, advice: str) -> CheckFinding:
    """Return a finding with which workers run."""
    return CheckFinding(check, CheckSeverity.WARNING, found, advice)


def problem(check: str, found: str, advice: str) -> CheckFinding:
    """Return a finding with which workers do not run."""
    return CheckFinding(check, CheckSeverity.PROBLEM, found, advice)


def skipped(check: str, why: str) -> CheckFinding:
    """Return that a check could not be made."""
    return CheckFinding(check, CheckSeverity.SKIPPED, why)
