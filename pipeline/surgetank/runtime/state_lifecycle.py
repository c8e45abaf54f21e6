"""The runtime's interface to the local state of a worker's tasks; does nothing for a pipeline without tables."""

from collections.abc import Callable, Iterable, Mapping

from surgetank.clock import Clock
from surgetank.kafka.group_client import GroupClient
from surgetank.records import OutputPartition, TaskEpoch, TaskId, TopicPartition
from surgetank.runtime.changelog_restorer import ChangelogRestorer
from surgetank.runtime.mailbox import Mailbox
from surgetank.runtime.open_transaction import CommittedOffsets
from surgetank.runtime.task_events import RestoreProgressed, RestoreStarted, StateRestored
from surgetank.settings import Settings
from surgetank.state.state_manager import StateManager
from surgetank.telemetry.metrics import Metrics


class StateLifecycle:
    """Restores, commits and closes stores, and posts the restore progress of each task.

    ``group`` is queried for committed offsets in the restoring thread.
    """

    def __init__(
        self,
        stores: StateManager | None,
        settings: Settings,
        mailbox: Mailbox,
        *,
        client_id: str,
        group: GroupClient,
        clock: Clock,
        metrics: Metrics,
        watch: Callable[[str, float], Callable[[], None]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._stores = stores
        self._mailbox = mailbox
        self._metrics = metrics
        self._restorer: ChangelogRestorer | None = None
        if stores is not None:
            self._restorer = ChangelogRestorer(
                settings.kafka,
                stores,
                client_id=client_id,
                share=settings.state.restore_share,
                committed=group.committed,
                wanted=lambda task: mailbox.ask(lambda manager: manager.tasks.is_restoring(task)),
                moved=lambda task: self._post(RestoreProgressed(task)),
                restored=lambda task, _: self._post(StateRestored(task)),
                running=lambda: mailbox.ask(lambda manager: manager.tasks.share_running),
                clock=clock,
                metrics=metrics,
                beat=watch("restorer", settings.worker.stuck_deadline_seconds),
                on_failure=on_failure,
            )

    def start(self) -> None:
        """Start the restoring thread."""
        if self._restorer is not None:
            self._restorer.start()

    def stop(self, timeout: float) -> None:
        """End the thread and write all state to the disk; wait up to ``timeout`` seconds for each."""
        if self._restorer is not None and self._stores is not None:
            self._restorer.stop(timeout)
            self._stores.stop(timeout)

    @property
    def full(self) -> bool:
        """Whether a commit is due because uncommitted state has reached its memory bound."""
        return self._stores is not None and self._stores.full

    def restore(self, task: TaskEpoch, offsets: Mapping[TopicPartition, int]) -> None:
        """Restore the state of a task to these offsets in the restoring thread; at once if it is current already."""
        if self._restorer is None or self._stores is None or self._stores.current(task, offsets):
            self._post(StateRestored(task))
        else:
            self._post(RestoreStarted(task))
            self._restorer.restore(task, dict(offsets))

    def commit(
        self, committed: CommittedOffsets, writes: Mapping[TaskEpoch, int], reached: Mapping[OutputPartition, int]
    ) -> None:
        """Write the state of a committed transaction to the disk."""
        if self._stores is not None:
            self._stores.commit(committed, writes, reached)

    def drop(self, tasks: Iterable[TaskEpoch]) -> None:
        """Drop the uncommitted changes of tasks that begin a new epoch."""
        if self._stores is not None:
            self._stores.drop(tasks)

    def close(self, tasks: Iterable[TaskId]) -> None:
        """Close the stores of these tasks."""
        if self._stores is not None:
            self._stores.close(tasks)

    def report(self) -> None:
        """Set the size metrics of all stores: rows, bytes on disk, bytes of cache."""
        if self._stores is not None:
            size = self._stores.size()
            self._metrics.state_rows.set(size.rows)
            self._metrics.state_disk_bytes.set(size.disk_bytes)
            self._metrics.state_cache_bytes.set(size.memory_bytes)

    def _post(self, event: RestoreStarted | RestoreProgressed | StateRestored) -> None:
        self._mailbox.post(event)
