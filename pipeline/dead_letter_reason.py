"""Describes why a record is dead-lettered.

Each step declares its reasons where it raises them; ``processing/dead_letter_reasons.py`` lists them all.
"""

from dataclasses import dataclass
from enum import StrEnum


class Step(StrEnum):
    """The step that dead-letters a record."""

    DECODE = "decode"
    FEATURES = "features"
    INFER = "infer"
    EMIT = "emit"


@dataclass(frozen=True, slots=True)
class DeadLetterReason:
    """A reason of one step.

    ``label`` is its value in the metric ``events_dead`` and in the header of a dead letter; ``meaning`` is its
    description in the runbook DeadLetterShareHigh.
    """

    step: Step
    label: str
    meaning: str
