"""Detects a worker that makes no progress, so that its process ends and an orchestrator restarts it. Pure."""

from collections.abc import Iterable, Mapping

from pipeline.records import TaskId, TopicPartition
from pipeline.runtime.task_state import TaskState

Snapshot = tuple[TaskId, TaskState, float, float, dict[TopicPartition, int]]  # as TaskSnapshot


def stuck_task(
    now: float, tasks: Iterable[Snapshot], ends: Mapping[TopicPartition, int], deadline_seconds: float
) -> str | None:
    """Return a message about a stuck task, None if no task is stuck.

    ``now`` is monotonic seconds; ``ends`` holds by partition the offset after the last record that can be read. A task
    is stuck when it has records to process (or is still opening or restoring) and has neither opened nor restored nor
    committed anything for the deadline. ``ends`` must not count trailing transaction markers.
    """
    for task, state, since, moved_at, committed in tasks:
        if state is TaskState.OPENING and now - since > deadline_seconds:
            return f"task {task} has not opened for {now - since:.0f} s"
        if state is TaskState.RESTORING and now - max(since, moved_at) > deadline_seconds:
            return f"task {task} has restored nothing for {now - max(since, moved_at):.0f} s"
        if state is TaskState.RUNNING and now - max(since, moved_at) > deadline_seconds:
            behind = {str(s): ends[s] - at for s, at in committed.items() if ends.get(s, at) > at}
            if behind:
                lag = ", ".join(f"{source} by {records} records" for source, records in behind.items())
                return f"task {task} lags ({lag}) and committed nothing for {now - max(since, moved_at):.0f} s"
    return None


def hung_call(now: float, started_at: float | None, deadline_seconds: float) -> str | None:
    """Return a message about a model call that exceeds its deadline, else None. Times are monotonic seconds."""
    if started_at is not None and now - started_at > deadline_seconds:
        return (
            f"a model call has run for {now - started_at:.0f} s (model.call_deadline_seconds is {deadline_seconds:g})"
        )
    return None
