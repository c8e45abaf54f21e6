"""The state of a worker's tasks as the runtime sees it; where the pipeline has no tables, there is nothing to keep."""

from collections.abc import Callable, Iterable, Mapping

from pipeline.clock import Clock
from pipeline.records import OutputPartition, TaskEpoch, TaskId, TopicPartition
from pipeline.runtime.batch_output import CommittedOffsets
from pipeline.runtime.changelog_restorer import ChangelogRestorer
from pipeline.runtime.task_registry import TaskRegistry
from pipeline.settings import Settings
from pipeline.state.state_manager import StateManager
from pipeline.telemetry.metrics import Metrics


class StateLifecycle:
    """Stores and their restoring. ``opened`` is called with each task whose state is as its offsets say.

    ``committed`` returns the stable committed offsets of sources, within so many seconds, None while one is unstable.
    """

    def __init__(
        self,
        vault: StateManager | None,
        settings: Settings,
        ledger: TaskRegistry,
        *,
        client_id: str,
        committed: Callable[[list[TopicPartition], float], dict[TopicPartition, int] | None],
        opened: Callable[[TaskEpoch, dict[TopicPartition, int]], None],
        clock: Clock,
        metrics: Metrics,
        watch: Callable[[str, float], Callable[[], None]],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._vault = vault
        self._ledger = ledger
        self._opened = opened
        self._metrics = metrics
        self._restorer: ChangelogRestorer | None = None
        if vault is not None:
            self._restorer = ChangelogRestorer(
                settings.kafka,
                vault,
                client_id=client_id,
                share=settings.state.restore_share,
                committed=committed,
                wanted=ledger.restoring,
                moved=ledger.restore_progressed,
                restored=opened,
                running=ledger.running,
                clock=clock,
                metrics=metrics,
                beat=watch("restorer", settings.worker.stuck_deadline_seconds),
                on_failure=on_failure,
            )

    def start(self) -> None:
        """Start the thread that restores."""
        if self._restorer is not None:
            self._restorer.start()

    def stop(self, timeout: float) -> None:
        """End the thread, and bring everything to the disk."""
        if self._restorer is not None and self._vault is not None:
            self._restorer.stop(timeout)
            self._vault.stop(timeout)

    @property
    def full(self) -> bool:
        """Whether it is time to commit, because of what is held in memory."""
        return self._vault is not None and self._vault.full

    def claimed(self, task_epoch: TaskEpoch, offsets: dict[TopicPartition, int]) -> None:
        """Open a task whose offsets are claimed, now or when its state is restored."""
        if self._restorer is None or self._vault is None or self._vault.current(task_epoch, offsets):
            self._opened(task_epoch, offsets)
        elif self._ledger.restore(task_epoch):
            self._restorer.restore(task_epoch, offsets)

    def commit(
        self, commitment: CommittedOffsets, writes: Mapping[TaskEpoch, int], reached: Mapping[OutputPartition, int]
    ) -> None:
        """Bring to the disk what was just committed."""
        if self._vault is not None:
            self._vault.commit(commitment, writes, reached)

    def drop(self, task_epochs: Iterable[TaskEpoch]) -> None:
        """Throw away what these tasks, which begin a new epoch, did not commit."""
        if self._vault is not None:
            self._vault.drop(task_epochs)

    def close(self, tasks: Iterable[TaskId]) -> None:
        """Give the stores of these tasks back."""
        if self._vault is not None:
            self._vault.close(tasks)

    def report(self) -> None:
        """Tell how large it is."""
        if self._vault is not None:
            size = self._vault.size()
            self._metrics.state_rows.set(size.rows)
            self._metrics.state_disk_bytes.set(size.disk_bytes)
            self._metrics.state_cache_bytes.set(size.memory_bytes)
