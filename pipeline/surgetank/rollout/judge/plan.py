"""The plan of a rollout: its steps, written as ``shadow 5m, 1% 5m, 5% 10m, 25% 10m 5000 rows, 100%``."""

import re
from dataclasses import dataclass
from itertools import pairwise

ROWS_MIN = 1000
PATTERN = re.compile(
    r"(?:(?P<shadow>shadow)|(?P<percent>\d+(?:\.\d+)?)\s*%)"
    r"(?:\s+(?P<time>\d+(?:\.\d+)?)\s*(?P<unit>s|sec|m|min|h))?"
    r"(?:\s+(?P<rows>\d+)\s*rows)?"
)
SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
EXAMPLE = "shadow 5m, 1% 5m, 5% 10m, 25% 10m, 100%"


@dataclass(frozen=True, slots=True)
class RolloutStep:
    """One step. ``share`` of the keys that the candidate answers for, 0 to 1; None: it scores all rows as a shadow.

    It takes at least ``seconds`` and ``rows_min`` rows of the candidate. The step with share 1 ends the rollout.
    """

    share: float | None
    seconds: float = 0.0
    rows_min: int = 0

    @property
    def text(self) -> str:
        """The step as it is written in a plan."""
        if self.share == 1:
            return "100%"
        what = "shadow" if self.share is None else f"{self.share * 100:.10g}%"
        return f"{what} {self.seconds:.10g}s {self.rows_min} rows"


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a rollout, at least one; the last one has share 1."""

    steps: tuple[RolloutStep, ...]

    @property
    def text(self) -> str:
        """The plan as ``parse_plan`` reads it."""
        return ", ".join(step.text for step in self.steps)


def parse_plan(text: str) -> Plan:
    """Return the plan that a text describes; rows are ``ROWS_MIN`` where none are given.

    Raises ValueError, with an example, if a step cannot be read, has no time, or does not follow from the step before:
    a shadow comes first, shares grow, the last step is 100%.
    """
    steps = tuple(_step(part.strip(), text) for part in text.split(","))
    shares = [-1.0 if step.share is None else step.share for step in steps]
    if any(after <= before for before, after in pairwise(shares)):
        raise _wrong(text, "a shadow comes first, and each share is larger than the one before")
    if shares[-1] != 1:
        raise _wrong(text, "the last step must be 100%")
    return Plan(steps)


def _step(part: str, text: str) -> RolloutStep:
    found = PATTERN.fullmatch(part)
    if found is None:
        raise _wrong(text, f"'{part}' is no step")
    share = None if found["shadow"] else float(found["percent"]) / 100
    if share is not None and not 0 < share <= 1:
        raise _wrong(text, f"'{part}' is no share: it must be above 0% and at most 100%")
    if share == 1:
        if found["time"] or found["rows"]:
            raise _wrong(text, f"'{part}' has no end: 100% takes neither time nor rows")
        return RolloutStep(1.0)
    if not found["time"]:
        raise _wrong(text, f"'{part}' does not say how long it takes")
    seconds = float(found["time"]) * SECONDS[found["unit"]]
    return RolloutStep(share, seconds, int(found["rows"]) if found["rows"] else ROWS_MIN)


def _wrong(text: str, why: str) -> ValueError:
    return ValueError(f"the plan '{text}' cannot be followed: {why}. Write for example '{EXAMPLE}'")
