"""Lists the dead-letter reasons of all steps."""

from surgetank.codec import base
from surgetank.processing import feature_matrix, key_comparison, key_limit, score_records
from surgetank.records import DeadLetterReason
from surgetank.serving import scorer

REASONS = (
    base.NULL_VALUE,
    base.EMPTY,
    base.VALUE_TOO_LARGE,
    base.NOT_FRAMED,
    base.NOT_JSON,
    base.UNKNOWN_SCHEMA,
    base.INCOMPATIBLE_SCHEMA,
    base.UNDECODABLE,
    key_limit.KEY_TOO_LARGE,
    key_comparison.KEY_DIFFERS,
    feature_matrix.NO_FEATURES,
    scorer.MODEL_ERROR,
    scorer.NOT_A_NUMBER,
    score_records.UNENCODABLE,
    score_records.SCORE_TOO_LARGE,
)


def find_reason(step: str, label: str) -> DeadLetterReason:
    """Return the reason of a step with a label. Raises ValueError if there is none."""
    for reason in REASONS:
        if (reason.step.value, reason.label) == (step, label):
            return reason
    raise ValueError(f"step {step!r} has no reason {label!r}")
