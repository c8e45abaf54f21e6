"""Actions that the task manager returns. Each is a value that a thread of the runtime executes.

Most are answered by an event, named in the action's docstring.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from surgetank.records import TaskEpoch, TaskId, TopicPartition
from surgetank.runtime.task_state import TaskState


@dataclass(frozen=True, slots=True)
class FindOwners:
    """Query the owners that last committed offsets of these tasks, ``after_seconds`` from now. Answer: OwnersFound."""

    tasks: tuple[TaskEpoch, ...]
    after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class FenceOwner:
    """Abort the open transaction of a stale owner in partitions of these tasks. Answer: OwnerFenced."""

    owner: str
    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class SettleTransactions:
    """End every transaction of this worker in partitions of these tasks. Answer: TransactionsSettled.

    ``mine`` are the tasks whose offsets this worker committed last, ``others`` the tasks with a later owner.
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
    """Restore the state of a task to these offsets. Answer: StateRestored; RestoreStarted first if it is stale."""

    task: TaskEpoch
    offsets: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class StartFetching:
    """Fetch the partitions of a task from these offsets on."""

    task: TaskEpoch
    offsets: Mapping[TopicPartition, int]


@dataclass(frozen=True, slots=True)
class StopFetching:
    """Stop fetching these tasks, and discard their queued records."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class DropOverlay:
    """Drop uncommitted changes to the state of a task; from now on only this epoch may change it."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class CloseStores:
    """Close the local state of tasks that are no longer owned."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class ProcessBatch:
    """Compute a batch of the offered records of these tasks. Answer: BatchComputed."""

    batch: int
    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class ProduceBatch:
    """Put the outputs of a batch into the open transaction. Answer: BatchProduced or TransactionAborted.

    Skipped if ``can_produce`` is false when it is executed.
    """

    batch: int


@dataclass(frozen=True, slots=True)
class CommitTransaction:
    """Commit the open transaction: post CommitReady and execute the SendOffsets that it returns.

    Without a SendOffsets nothing may be committed, and the open transaction must be aborted.
    """


@dataclass(frozen=True, slots=True)
class SendOffsets:
    """Send these offsets and commit. Answer: TransactionCommitted or TransactionAborted.

    ``offsets`` cover the produced outputs, by task; ``claims`` are start offsets, committed under this worker's name.
    """

    transaction: int
    offsets: Mapping[TaskEpoch, Mapping[TopicPartition, int]]
    claims: Mapping[TaskEpoch, Mapping[TopicPartition, int]]


@dataclass(frozen=True, slots=True)
class AbortTransaction:
    """Abort the open transaction, even if it is empty. Answer: TransactionAborted.

    Skipped if ``wants_abort`` is false when it is executed, because the transaction has failed meanwhile.
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
    """Leave the consumer group, which revokes the owned partitions."""


@dataclass(frozen=True, slots=True)
class EndProcess:
    """End the process because another live worker has the same name."""

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
