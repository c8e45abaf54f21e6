"""Events that the task manager handles. Each is a value.

An event that can be stale names a task by its TaskEpoch. Times are monotonic seconds. ``waiting_rows`` is the number of
fetched rows that are not in a batch yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from surgetank.records import TaskEpoch, TaskId, TopicPartition


class RecordSpan(NamedTuple):
    """Contiguous records of one partition: ``rows`` records with offsets in [first_offset, end).

    ``end`` is the offset to commit after them, past gaps and markers. ``arrived_ms`` is the timestamp of the first
    record in milliseconds since the epoch, None if there are no records (only markers were read).
    """

    source: TopicPartition
    first_offset: int
    end: int
    rows: int
    arrived_ms: int | None


@dataclass(frozen=True, slots=True)
class PartitionsAssigned:
    """The group assigned these tasks to this worker, in addition to those that it owns."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class PartitionsRevoked:
    """The group revokes these tasks; they stay owned until their work is committed or the deadline passes."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class PartitionsLost:
    """Other workers may own these tasks already."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class OwnersFound:
    """The last owners of each task's offsets (None: no owner); ``stale`` are the owners that have left the group."""

    owners: Mapping[TaskEpoch, frozenset[str | None]]
    stale: frozenset[str]


@dataclass(frozen=True, slots=True)
class OwnerFenced:
    """The transaction of ``owner`` in partitions of these tasks is aborted, and its producer is fenced."""

    owner: str
    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class TransactionsSettled:
    """This worker has no open or hanging transaction in partitions of these tasks."""

    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class OffsetsResolved:
    """The start offsets of tasks, by partition: committed and stable.

    ``outdated`` are the tasks with a committed offset or its metadata that differs from the claim of this worker.
    """

    offsets: Mapping[TaskEpoch, Mapping[TopicPartition, int]]
    outdated: frozenset[TaskEpoch] = frozenset()


@dataclass(frozen=True, slots=True)
class InitializationFailed:
    """An initialization step of these tasks failed, or its answer is not available yet."""

    tasks: tuple[TaskEpoch, ...]
    owner: str | None = None  # the owner whose fencing failed


@dataclass(frozen=True, slots=True)
class RestoreStarted:
    """The local state of a task does not match its start offsets; it is being restored from changelogs."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class RestoreProgressed:
    """Further state of a task was restored."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class StateRestored:
    """The local state of a task matches its start offsets."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class RecordsFetched:
    """Fetched records for the next batch, in fetch order."""

    records: tuple[tuple[TaskEpoch, tuple[RecordSpan, ...]], ...]


@dataclass(frozen=True, slots=True)
class BatchComputed:
    """The outputs of a batch are computed; not ``usable``: they must not be committed."""

    batch: int
    usable: bool


@dataclass(frozen=True, slots=True)
class BatchProduced:
    """All outputs of a batch are in the open transaction. ``state_full``: uncommitted state is at its memory bound."""

    batch: int
    waiting_rows: int
    state_full: bool = False


@dataclass(frozen=True, slots=True)
class CommitReady:
    """The transaction thread is ready to send the offsets of the open transaction."""


@dataclass(frozen=True, slots=True)
class TransactionCommitted:
    """The transaction with this number, from SendOffsets, is committed."""

    transaction: int


@dataclass(frozen=True, slots=True)
class TransactionAborted:
    """The open transaction was aborted, or its outcome is unknown; treat none of it as committed.

    ``duplicate_member``: the producer was fenced, and another live member of the group has this worker's name.
    """

    duplicate_member: bool = False


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A partition cannot be read from its fetch position."""

    source: TopicPartition
    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class OffsetsExpiring:
    """The committed offsets must be committed again: the brokers would expire them, or their metadata has changed."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time of a commit or of a close deadline has come."""

    waiting_rows: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The worker must commit the open transaction and stop."""


ManagerEvent = (
    PartitionsAssigned
    | PartitionsRevoked
    | PartitionsLost
    | OwnersFound
    | OwnerFenced
    | TransactionsSettled
    | OffsetsResolved
    | InitializationFailed
    | RestoreStarted
    | RestoreProgressed
    | StateRestored
    | RecordsFetched
    | BatchComputed
    | BatchProduced
    | CommitReady
    | TransactionCommitted
    | TransactionAborted
    | FetchFailed
    | OffsetsExpiring
    | DeadlinePassed
    | StopAsked
)
