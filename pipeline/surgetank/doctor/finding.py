"""What a check found."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is: a worker cannot run with a problem; a check that could not be made is skipped."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: what was found, and for a warning or a problem what to do."""

    check: str
    severity: Severity
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(check, Severity.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding with which workers run."""
    return Finding(check, Severity.WARNING, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return a finding with which workers do not run."""
    return Finding(check, Severity.PROBLEM, found, advice)


def skipped(check: str, why: str) -> Finding:
    """Return that a check could not be made."""
    return Finding(check, Severity.SKIPPED, why)
