"""Handles assigned, revoked and lost partitions in the membership thread.

The group waits for this worker at most for the session timeout. So a revocation returns when all work of the revoked
tasks is committed or aborted, or at its deadline.
"""

import logging

from surgetank.clock import Clock
from surgetank.records import TaskId
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.observer import RuntimeObserver
from surgetank.runtime.task_events import DeadlinePassed, PartitionsAssigned, PartitionsLost, PartitionsRevoked
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class TaskRebalanceListener:
    """Posts rebalances of the tasks of one pipeline, and blocks up to the deadline until the tasks are released."""

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        pipeline: str,
        close_deadline_seconds: float,
        clock: Clock,
        metrics: Metrics,
        observer: RuntimeObserver,
    ) -> None:
        self._mailbox = mailbox
        self._pipeline = pipeline
        self._deadline = close_deadline_seconds
        self._clock = clock
        self._metrics = metrics
        self._observer = observer

    def assigned(self, partitions: list[int]) -> None:
        """Post the assignment of additional partitions."""
        self._metrics.rebalances.add(1, change="assigned")
        self._mailbox.post(PartitionsAssigned(self._tasks(partitions)))
        log.info("assigned partitions %s", sorted(partitions))
        self._observer.moved("gained", partitions)

    def revoked(self, partitions: list[int]) -> None:
        """Commit the open work of these partitions within the deadline, and release them."""
        self._metrics.rebalances.add(1, change="revoked")
        started = self._clock.monotonic()
        tasks = self._tasks(partitions)
        self._mailbox.post(PartitionsRevoked(tasks))
        if not self._released(tasks):
            log.warning("partitions %s could not be committed before they were revoked", sorted(partitions))
            self._mailbox.post(DeadlinePassed(0))
            if not self._released(tasks):
                # The open transaction's offsets cannot be committed any more: this worker has left the group by now.
                log.warning("still aborting what is open of partitions %s", sorted(partitions))
        self._metrics.rebalance_pause_seconds.observe(self._clock.monotonic() - started)
        log.info("revoked partitions %s", sorted(partitions))
        self._observer.moved("gave up", partitions)

    def lost(self, partitions: list[int]) -> None:
        """Commit nothing of these partitions: others may own them. Return when their open work is aborted."""
        self._metrics.rebalances.add(1, change="lost")
        tasks = self._tasks(partitions)
        self._mailbox.post(PartitionsLost(tasks))
        if not self._released(tasks):
            log.warning("still aborting what is open of partitions %s", sorted(partitions))
        log.warning("lost partitions %s", sorted(partitions))
        self._observer.moved("lost", partitions)

    def lose_all(self) -> None:
        """Release all owned partitions before the process ends."""
        self.lost([task.partition for task, *_ in self._mailbox.ask(lambda manager: manager.tasks.snapshot())])

    def _tasks(self, partitions: list[int]) -> tuple[TaskId, ...]:
        return tuple(TaskId(self._pipeline, partition) for partition in partitions)

    def _released(self, tasks: tuple[TaskId, ...]) -> bool:
        return self._mailbox.wait_for(lambda manager: manager.released(tasks), self._deadline)
