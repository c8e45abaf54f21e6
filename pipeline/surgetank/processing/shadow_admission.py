"""Decides whether a shadow scores the rows of a committed batch, or skips them because the worker is busy. Pure."""

from dataclasses import dataclass
from enum import StrEnum

LATE_SECONDS = 1.0  # a batch with an older row was not scored in time: the shadow must not delay the next one


class Skipped(StrEnum):
    """Why rows were not scored by the shadow: the values of the metric ``shadow_rows_skipped``."""

    FULL_BATCH = "full_batch"  # the batch was as large as a batch may be: more rows were waiting
    BACKLOG = "backlog"  # the rows of a full batch wait in the queues
    LATE = "late"  # the oldest row of the batch was older than LATE_SECONDS when it was committed
    WAITING = "waiting"  # the shadow is slower than the worker: rows of a full batch wait for it
    HANGING = "hanging"  # its call in progress takes longer than model.call_deadline_seconds
    NOT_READY = "not_ready"  # what writes its scores could not be made; the log says why
    REPLACED = "replaced"  # another plan came into force before it was their turn
    ERROR = "error"  # an error that is not one of its model's; the log names it
    NOT_WRITTEN = "not_written"  # scored, but the brokers did not take the records in time


@dataclass(frozen=True, slots=True)
class WorkerLoad:
    """How busy a worker is when a batch of ``rows`` records was committed.

    ``rows_max`` is the largest number of rows of a batch, ``queued_rows`` the number of fetched rows that wait for the
    next one. ``age_seconds`` is the age of the oldest row of the batch. ``waiting_rows`` wait for the shadow, and its
    call in progress has taken ``call_seconds``.
    """

    rows: int
    rows_max: int
    queued_rows: int
    age_seconds: float
    waiting_rows: int
    call_seconds: float


def reason_to_skip(load: WorkerLoad, *, call_deadline_seconds: float) -> Skipped | None:
    """Return why the shadow must skip a batch, None if it may score it."""
    if load.call_seconds > call_deadline_seconds:
        return Skipped.HANGING
    if load.rows >= load.rows_max:
        return Skipped.FULL_BATCH
    if load.queued_rows >= load.rows_max:
        return Skipped.BACKLOG
    if load.age_seconds > LATE_SECONDS:
        return Skipped.LATE
    if load.waiting_rows and load.waiting_rows + load.rows > load.rows_max:
        return Skipped.WAITING
    return None
