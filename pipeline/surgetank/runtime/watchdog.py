"""Detects a worker that makes no progress, so that its process ends and an orchestrator restarts it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from surgetank.records import TaskId, TopicPartition
from surgetank.runtime.task_state import TaskState

Snapshot = tuple[TaskId, TaskState, float, float, dict[TopicPartition, int]]  # as TaskSnapshot


@dataclass(slots=True)
class _Standstill:
    """The last committed offsets of a task that has records to process, and since when they have not changed."""

    since: float
    committed: dict[TopicPartition, int]


class StuckTaskDetector:
    """Finds tasks that make no progress for ``deadline_seconds``. Times are monotonic seconds.

    A task is stuck when it has records to process and commits nothing, when it does not open, or when it restores
    nothing. The time in which it commits nothing also runs while it is reopened again and again; it starts when a check
    first sees records to process after a commit, and starts anew after a restore and while the ends are unknown.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline = deadline_seconds
        self._standstills: dict[TaskId, _Standstill] = {}

    def check(self, now: float, tasks: Iterable[Snapshot], ends: Mapping[TopicPartition, int]) -> str | None:
        """Return a message about a stuck task, None if no task is stuck.

        ``tasks`` are all owned tasks. ``ends`` holds by partition the offset after the last record that can be read,
        without trailing transaction markers; it is empty if it is unknown.
        """
        before, self._standstills = self._standstills, {}
        found: str | None = None
        for snapshot in tasks:
            if ends:
                self._observe(now, snapshot, before.get(snapshot[0]), ends)
            found = found or self._message(now, snapshot, ends)
        return found

    def _observe(
        self, now: float, snapshot: Snapshot, before: _Standstill | None, ends: Mapping[TopicPartition, int]
    ) -> None:
        task, state, _, _, committed = snapshot
        if state is TaskState.RESTORING:
            return
        if state is TaskState.RUNNING:
            if not _behind(committed, ends):
                return
            if before is None or before.committed != committed:
                before = _Standstill(now, dict(committed))
        if before is not None:
            self._standstills[task] = before

    def _message(self, now: float, snapshot: Snapshot, ends: Mapping[TopicPartition, int]) -> str | None:
        task, state, since, moved_at, _ = snapshot
        if state is TaskState.RESTORING:
            idle = now - max(since, moved_at)
            return f"task {task} has restored nothing for {idle:.0f} s" if idle > self._deadline else None
        if state is TaskState.OPENING and now - since > self._deadline:
            return f"task {task} has not opened for {now - since:.0f} s"
        standstill = self._standstills.get(task)
        if standstill is None or now - standstill.since <= self._deadline:
            return None
        lag = ", ".join(f"{each} by {records} records" for each, records in _behind(standstill.committed, ends).items())
        return f"task {task} lags ({lag}) and committed nothing for {now - standstill.since:.0f} s"


def _behind(committed: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return the number of records to process by partition, for the partitions that have some."""
    return {source: ends[source] - at for source, at in committed.items() if ends.get(source, at) > at}


def hung_call(now: float, started_at: float | None, deadline_seconds: float) -> str | None:
    """Return a message about a model call that exceeds its deadline, else None. Times are monotonic seconds."""
    if started_at is not None and now - started_at > deadline_seconds:
        return (
            f"a model call has run for {now - started_at:.0f} s (model.call_deadline_seconds is {deadline_seconds:g})"
        )
    return None
