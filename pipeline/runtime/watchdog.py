"""Ends a process that makes no progress, so that an orchestrator starts it anew. The decisions are pure."""

from collections.abc import Iterable, Mapping

from pipeline.records import TaskId, TopicPartition
from pipeline.runtime.task_state import TaskState

Snapshot = tuple[TaskId, TaskState, float, float, dict[TopicPartition, int]]  # as TaskSnapshot


def stuck_task(
    now: float, tasks: Iterable[Snapshot], ends: Mapping[TopicPartition, int], deadline_seconds: float
) -> str | None:
    """Say which task is stuck, if any.

    ``now`` is monotonic seconds; ``ends`` holds the offset that each source's fetching position must reach: records
    that are there to be read. A task is stuck when it has something to do (or is still opening or restoring) and
    neither opened nor restored nor committed anything for the deadline. Trailing transaction markers are not work:
    ``ends`` must not count them.
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
    """Say that a model call hangs, if one does. Times are monotonic seconds."""
    if started_at is not None and now - started_at > deadline_seconds:
        return (
            f"a model call has run for {now - started_at:.0f} s (model.call_deadline_seconds is {deadline_seconds:g})"
        )
    return None
