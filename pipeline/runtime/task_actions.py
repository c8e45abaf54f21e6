"""Actions that the task manager asks for. Each is a value that some thread of the runtime executes.

Most are answered by an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.records import TaskEpoch, TaskId, TopicPartition
from pipeline.runtime.task_state import TaskState


@dataclass(frozen=True, slots=True)
class FindOwners:
    """Ask who last committed offsets of these tasks, ``after_seconds`` from now. Answer: OwnersFound."""

    tasks: tuple[TaskEpoch, ...]
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FenceOwner:
    """Abort whatever a stale owner has open in partitions of these tasks. Answer: OwnerFenced."""

    owner: str
    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class SettleTransactions:
    """End every transaction of this worker in partitions of these tasks. Answer: TransactionsSettled.

    ``mine`` are the tasks whose offsets this worker committed last, ``others`` those that had another owner since.
    """

    tasks: tuple[TaskEpoch, ...]
    mine: frozenset[TaskId]
    others: frozenset[TaskId]


@dataclass(frozen=True, slots=True)
class ResolveOffsets:
    """Read the stable committed offsets of these tasks. Answer: OffsetsResolved."""

    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class RestoreState:
    """Bring the state of a task to these offsets. Answer: StateRestored, after RestoreStarted if that takes time."""

    task: TaskEpoch
    offsets: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class StartFetching:
    """Fetch the partitions of a task from these offsets on."""

    task: TaskEpoch
    offsets: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class StopFetching:
    """Fetch these tasks no more, and discard what was fetched of them."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class DropOverlay:
    """Drop uncommitted changes to the state of a task; from now on only this epoch of it may change state."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class CloseStores:
    """Close the local state of these tasks, which are not owned any more."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class ProcessBatch:
    """Compute a batch of the offered records of these tasks. Answer: BatchComputed."""

    batch: int
    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class ProduceBatch:
    """Put the outputs of a batch into the open transaction. Answer: BatchProduced or TransactionAborted.

    Void if the manager says by then that the batch cannot be produced.
    """

    batch: int


@dataclass(frozen=True, slots=True)
class CommitTransaction:
    """Commit the open transaction: say CommitReady and execute what it returns.

    If that is no SendOffsets, nothing may be committed, and whatever is open must be aborted.
    """


@dataclass(frozen=True, slots=True)
class SendOffsets:
    """Send these offsets and commit. Answer: TransactionCommitted or TransactionAborted.

    ``offsets`` cover what was produced, by task; ``claims`` are start offsets, committed again in this worker's name.
    """

    transaction: int
    offsets: Mapping[TaskEpoch, Mapping[TopicPartition, int]]
    claims: Mapping[TaskEpoch, Mapping[TopicPartition, int]]


@dataclass(frozen=True, slots=True)
class AbortTransaction:
    """Abort the open transaction, also if nothing is in it. Answer: TransactionAborted.

    Void if the manager does not want an abort any more, because the transaction failed by itself meanwhile.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class ReportTransition:
    """Report that a task changed its state."""

    task: TaskId
    before: TaskState
    after: TaskState


@dataclass(frozen=True, slots=True)
class LeaveGroup:
    """Leave the consumer group; it revokes what is owned."""


@dataclass(frozen=True, slots=True)
class EndProcess:
    """End the process: another live worker has its name."""

    message: str


ManagerAction = (
    FindOwners
    | FenceOwner
    | SettleTransactions
    | ResolveOffsets
    | RestoreState
    | StartFetching
    | StopFetching
    | DropOverlay
    | CloseStores
    | ProcessBatch
    | ProduceBatch
    | CommitTransaction
    | SendOffsets
    | AbortTransaction
    | ReportTransition
    | LeaveGroup
    | EndProcess
)
