"""The steps of task initialization, in their order. Pure.

::

    find owners ──> fence stale owners ──> settle own transactions ──> resolve offsets ──> claim them ──> restore

Offsets are trusted only after every transaction that may still change them has ended. The claim commits the start
offsets under this worker's name before its first output, so that a successor knows which owner to fence. A worker
that owned the task before claims again only if its claim has changed, as after another declaration of a table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from surgetank.records import TaskEpoch, TopicPartition
from surgetank.runtime.task_actions import FenceOwner, ManagerAction, ResolveOffsets, RestoreState, SettleTransactions
from surgetank.runtime.task_events import OffsetsResolved, OwnersFound


class InitializationStep(StrEnum):
    """The step that the initialization of a task waits for."""

    OWNERS = "owners"
    FENCE = "fence"
    SETTLE = "settle"
    OFFSETS = "offsets"
    CLAIM = "claim"
    RESTORE = "restore"


@dataclass(slots=True)
class _Initializing:
    step: InitializationStep = InitializationStep.OWNERS
    owners: frozenset[str | None] = frozenset()
    unfenced: set[str] = field(default_factory=set)
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)


class Initialization:
    """Tasks that are being initialized, with their steps. Events for other epochs or other steps are ignored."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._tasks: dict[TaskEpoch, _Initializing] = {}
        self._fencing: dict[str, frozenset[TaskEpoch]] = {}  # by owner: the tasks covered by the fence in progress

    def begin(self, task: TaskEpoch) -> None:
        """Start the initialization of a task at the first step."""
        self._tasks[task] = _Initializing()

    def forget(self, task: TaskEpoch) -> None:
        """Remove a task that is initialized or whose epoch has ended."""
        self._tasks.pop(task, None)

    def step(self, task: TaskEpoch) -> InitializationStep | None:
        """Return the step that the task waits for; None if it is not being initialized in this epoch."""
        found = self._tasks.get(task)
        return None if found is None else found.step

    def owners_found(self, event: OwnersFound) -> list[ManagerAction]:
        """Fence stale owners, and continue with the tasks that have none."""
        ready: list[TaskEpoch] = []
        waiting: list[TaskEpoch] = []
        for task, owners in event.owners.items():
            if (found := self._at(task, InitializationStep.OWNERS)) is None:
                continue
            found.owners = owners
            found.unfenced = {each for each in event.stale & owners if each != self._identity}
            found.step = InitializationStep.FENCE if found.unfenced else InitializationStep.SETTLE
            (waiting if found.unfenced else ready).append(task)
        return [*self._fence(waiting), *self._settle(ready)]

    def owner_fenced(self, owner: str, covered: Iterable[TaskEpoch]) -> list[ManagerAction]:
        """Continue with the covered tasks whose stale owners are all fenced."""
        covered = frozenset(covered)
        if self._fencing.get(owner) == covered:
            del self._fencing[owner]
        ready: list[TaskEpoch] = []
        for task in covered:
            if (found := self._at(task, InitializationStep.FENCE)) is not None:
                found.unfenced.discard(owner)
                if not found.unfenced:
                    found.step = InitializationStep.SETTLE
                    ready.append(task)
        return self._settle(sorted(ready))

    def fence_failed(self, owner: str) -> None:
        """Allow another attempt to fence an owner."""
        self._fencing.pop(owner, None)

    def uncovered(self, owner: str) -> list[TaskEpoch]:
        """Return the tasks that wait for an owner to be fenced while no fence in progress covers them.

        They were added during a fence that has ended. Their owners must be looked up again: a worker of that name may
        have joined the group since the last lookup.
        """
        covered = self._fencing.get(owner, frozenset())
        waiting = (task for task, each in self._tasks.items() if each.step is InitializationStep.FENCE)
        return [task for task in waiting if owner in self._tasks[task].unfenced and task not in covered]

    def settled(self, tasks: Iterable[TaskEpoch]) -> list[ManagerAction]:
        """Read the committed offsets, which no open transaction can change any more."""
        ready = tuple(task for task in tasks if self._at(task, InitializationStep.SETTLE) is not None)
        for task in ready:
            self._tasks[task].step = InitializationStep.OFFSETS
        return [ResolveOffsets(ready)] if ready else []

    def offsets_resolved(self, event: OffsetsResolved) -> list[ManagerAction]:
        """Restore the tasks that this worker owned before; claim the offsets of others and outdated ones first."""
        actions: list[ManagerAction] = []
        for task, starts in event.offsets.items():
            if (found := self._at(task, InitializationStep.OFFSETS)) is None:
                continue
            found.offsets = dict(starts)
            if found.owners == {self._identity} and task not in event.outdated:
                actions.append(self._restore(task))
            else:
                found.step = InitializationStep.CLAIM
        return actions

    @property
    def claims(self) -> dict[TaskEpoch, Mapping[TopicPartition, int]]:
        """The start offsets to claim with the next commit."""
        return {task: found.offsets for task, found in self._tasks.items() if found.step is InitializationStep.CLAIM}

    def claimed(self, tasks: Iterable[TaskEpoch]) -> list[ManagerAction]:
        """Restore the tasks whose claim is committed."""
        return [self._restore(task) for task in tasks if self._at(task, InitializationStep.CLAIM) is not None]

    def offsets(self, task: TaskEpoch) -> Mapping[TopicPartition, int] | None:
        """Return the start offsets of a task whose state is being restored; None for any other."""
        found = self._at(task, InitializationStep.RESTORE)
        return None if found is None else found.offsets

    def _at(self, task: TaskEpoch, step: InitializationStep) -> _Initializing | None:
        found = self._tasks.get(task)
        return found if found is not None and found.step is step else None

    def _fence(self, tasks: Iterable[TaskEpoch]) -> list[ManagerAction]:
        """Fence each owner at most once at a time: a fence in progress does not cover tasks that were added later."""
        whom: dict[str, list[TaskEpoch]] = {}
        for task in tasks:
            for owner in self._tasks[task].unfenced if self._tasks[task].step is InitializationStep.FENCE else ():
                if owner not in self._fencing:
                    whom.setdefault(owner, []).append(task)
        self._fencing |= {owner: frozenset(theirs) for owner, theirs in whom.items()}
        return [FenceOwner(owner, tuple(theirs)) for owner, theirs in sorted(whom.items())]

    def _settle(self, tasks: list[TaskEpoch]) -> list[ManagerAction]:
        if not tasks:
            return []
        mine = frozenset(task.task for task in tasks if self._identity in self._tasks[task].owners)
        others = frozenset(task.task for task in tasks if self._tasks[task].owners - {self._identity}) - mine
        return [SettleTransactions(tuple(tasks), mine, others)]

    def _restore(self, task: TaskEpoch) -> RestoreState:
        found = self._tasks[task]
        found.step = InitializationStep.RESTORE
        return RestoreState(task, found.offsets)
