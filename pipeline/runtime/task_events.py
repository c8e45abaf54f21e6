"""Events that the task manager decides on. Each is a value.

A task is named by its epoch wherever what is said of it can be stale. Times are monotonic seconds. ``waiting_rows`` are
the fetched rows that are not in a batch yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.records import TaskEpoch, TaskId, TopicPartition


class RecordSpan(NamedTuple):
    """Contiguous records of one partition: ``rows`` records from ``first_offset`` on, without those before ``end``.

    ``end`` is the offset to commit after them, behind gaps and markers. ``arrived_ms`` is the timestamp of the first
    record in milliseconds since the epoch, None if there is none (only markers were read).
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
    """The group asks for these tasks; they are still owned until their work is committed or the deadline passes."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class PartitionsLost:
    """Other workers may own these tasks already."""

    tasks: tuple[TaskId, ...]


@dataclass(frozen=True, slots=True)
class OwnersFound:
    """Who last committed offsets of each task (None: nobody); ``stale`` are those who are not in the group any more."""

    owners: Mapping[TaskEpoch, frozenset[str | None]]
    stale: frozenset[str]


@dataclass(frozen=True, slots=True)
class OwnerFenced:
    """Whatever ``owner`` had open in partitions of these tasks is aborted, and it can write no more."""

    owner: str
    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class TransactionsSettled:
    """No transaction of this worker is left without an end in partitions of these tasks."""

    tasks: tuple[TaskEpoch, ...]


@dataclass(frozen=True, slots=True)
class OffsetsResolved:
    """The offsets where tasks start, by partition: committed and stable."""

    offsets: Mapping[TaskEpoch, Mapping[TopicPartition, int]]


@dataclass(frozen=True, slots=True)
class InitializationFailed:
    """A step of initializing these tasks failed, or its answer is not there yet."""

    tasks: tuple[TaskEpoch, ...]
    owner: str | None = None  # whose fencing failed


@dataclass(frozen=True, slots=True)
class RestoreStarted:
    """The local state of a task is not what its offsets say; it is being restored from changelogs."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class RestoreProgressed:
    """More of a task's state was restored."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class StateRestored:
    """The local state of a task is what its offsets say."""

    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class RecordsFetched:
    """Fetched records are offered for a batch, in the order in which they were fetched."""

    records: tuple[tuple[TaskEpoch, tuple[RecordSpan, ...]], ...]


@dataclass(frozen=True, slots=True)
class BatchComputed:
    """The outputs of a batch are computed; not ``usable``: nothing of them may count."""

    batch: int
    usable: bool


@dataclass(frozen=True, slots=True)
class BatchProduced:
    """All outputs of a batch are in the open transaction. ``state_full``: uncommitted state fills its memory."""

    batch: int
    waiting_rows: int
    state_full: bool = False


@dataclass(frozen=True, slots=True)
class CommitReady:
    """The executor of transactions is about to send the offsets of the open transaction."""


@dataclass(frozen=True, slots=True)
class TransactionCommitted:
    """The transaction with this number, as SendOffsets gave it, is committed."""

    transaction: int


@dataclass(frozen=True, slots=True)
class TransactionAborted:
    """The open transaction was aborted, or its outcome is unknown; nothing of it may be taken for committed.

    ``duplicate_member``: the producer was fenced, and another live member of the group has this worker's name.
    """

    duplicate_member: bool = False


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A partition cannot be read on from where its fetching is."""

    source: TopicPartition
    task: TaskEpoch


@dataclass(frozen=True, slots=True)
class OffsetsExpiring:
    """The committed offsets must be committed again, because brokers delete offsets that do not change."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """A time came at which something was due."""

    waiting_rows: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The worker is to end after committing what is open."""


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
