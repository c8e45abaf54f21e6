"""What the membership's thread does when the group assigns, revokes or takes away partitions.

The group goes on without this worker's answer for as long as a session lasts. So a revocation returns when all work of
the revoked tasks is committed or aborted, or at its deadline.
"""

import logging

from pipeline.clock import Clock
from pipeline.records import TaskId
from pipeline.runtime.mailbox import Mailbox
from pipeline.runtime.observer import RuntimeObserver
from pipeline.runtime.task_events import DeadlinePassed, PartitionsAssigned, PartitionsLost, PartitionsRevoked
from pipeline.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class TaskRebalanceListener:
    """Posts rebalances of the tasks of one pipeline, and waits as long as the group may be kept waiting."""

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

    def gained(self, partitions: list[int]) -> None:
        """Own these partitions also."""
        self._metrics.rebalances.add(1, change="assigned")
        self._mailbox.post(PartitionsAssigned(self._tasks(partitions)))
        log.info("gained partitions %s", sorted(partitions))
        self._observer.moved("gained", partitions)

    def revoked(self, partitions: list[int]) -> None:
        """Commit what is open of these partitions, within the deadline, and give them up."""
        self._metrics.rebalances.add(1, change="revoked")
        started = self._clock.monotonic()
        tasks = self._tasks(partitions)
        self._mailbox.post(PartitionsRevoked(tasks))
        if not self._released(tasks):
            log.warning("partitions %s could not be committed before they were given up", sorted(partitions))
            self._mailbox.post(DeadlinePassed(0))
            if not self._released(tasks):
                # The offsets of what is open cannot be committed any more: this worker is no member by now.
                log.warning("still aborting what is open of partitions %s", sorted(partitions))
        self._metrics.rebalance_pause_seconds.observe(self._clock.monotonic() - started)
        log.info("gave up partitions %s", sorted(partitions))
        self._observer.moved("gave up", partitions)

    def lost(self, partitions: list[int]) -> None:
        """Commit nothing of these partitions: others may own them. Return when what was open is aborted."""
        self._metrics.rebalances.add(1, change="lost")
        tasks = self._tasks(partitions)
        self._mailbox.post(PartitionsLost(tasks))
        if not self._released(tasks):
            log.warning("still aborting what is open of partitions %s", sorted(partitions))
        log.warning("lost partitions %s", sorted(partitions))
        self._observer.moved("lost", partitions)

    def lose_all(self) -> None:
        """Give up whatever is owned, because the process is about to end."""
        self.lost([task.partition for task, *_ in self._mailbox.ask(lambda manager: manager.tasks.snapshot())])

    def _tasks(self, partitions: list[int]) -> tuple[TaskId, ...]:
        return tuple(TaskId(self._pipeline, partition) for partition in partitions)

    def _released(self, tasks: tuple[TaskId, ...]) -> bool:
        return self._mailbox.wait_for(lambda manager: manager.released(tasks), self._deadline)
