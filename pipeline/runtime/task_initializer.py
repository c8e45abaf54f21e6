"""Opens tasks: stable offsets, leftovers of dead predecessors fenced, the claim committed; then they may be restored.

A thread of its own, so that a task that must wait keeps nobody else waiting.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaException

from pipeline.errors import BrokerError, OffsetsError, TopicsError
from pipeline.records import OutputPartition, TaskEpoch, TopicPartition
from pipeline.runtime.fencing import GroupClient, stale_owners
from pipeline.runtime.task_registry import TaskRegistry

log = logging.getLogger(__name__)

CALL_SECONDS = 5.0
QUESTION_SECONDS = 1.5  # of a broker that may have died: the next question goes elsewhere, and has twice the time
FENCE_SECONDS = 0.05  # mostly it takes less, and then all that is due is opened at once
STABLE_SECONDS = 1.0
STABLE_ALONE_SECONDS = 0.2
# A leader that was just elected may report too low an end at first: only then is an offset beyond it believed.
BEYOND_SECONDS = 3.0
LOOK_AGAIN_SECONDS = 0.05  # while a live member ends its transaction, or a broker is away


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a partition holds: its first offset, its last stable offset and its high watermark."""

    low: int
    stable: int
    high: int


@dataclass(frozen=True, slots=True)
class Start:
    """Where to start, and what must be said of it. ``offset`` None: the committed offset is beyond the end."""

    offset: int | None
    remark: str | None = None


def start_offset(committed: int, bounds: Bounds, reset: Literal["earliest", "latest"], *, claimed: bool) -> Start:
    """Return where to start. Pure.

    ``committed`` is negative where the group has none yet; ``claimed`` says whether a worker committed it. An offset
    between the last stable offset and the high watermark is right: a transaction of somebody else is open before it.
    """
    if committed < 0:
        return Start(bounds.low if reset == "earliest" else bounds.stable)
    if committed < bounds.low:
        return Start(bounds.low, f"{bounds.low - committed} records were deleted by retention before they were read")
    if committed > bounds.high:
        return Start(None, f"the committed offset {committed} is beyond its end {bounds.high}")
    if not claimed:
        return Start(
            committed,
            f"the offset {committed} was not committed by a worker of this pipeline but set otherwise: events before "
            "it that no worker had processed are skipped, events behind it that one had are processed again",
        )
    return Start(committed)


class TaskInitializer:
    """Brings gained and rewound tasks to life. ``claim`` commits start offsets; ``claimed`` is told of them.

    ``outputs`` are the topics whose partitions have the numbers of the tasks that write to them. ``settle`` ends what
    this worker left open in the first of the given partitions of them (the second had other owners), or returns False
    if that must wait. Beside the topic ``upkeep`` nothing is opened.
    """

    def __init__(
        self,
        ground: GroupClient,
        ledger: TaskRegistry,
        *,
        me: str,
        outputs: tuple[str, ...],
        upkeep: str,
        reset: Literal["earliest", "latest"],
        monotonic: Callable[[], float],
        settle: Callable[[set[OutputPartition], set[OutputPartition], Any], bool],
        claim: Callable[[dict[TaskEpoch, dict[TopicPartition, int]]], bool],
        claimed: Callable[[TaskEpoch, dict[TopicPartition, int]], None],
        beat: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._ground = ground
        self._ledger = ledger
        self._me = me
        self._outputs = outputs
        self._upkeep = upkeep
        self._reset = reset
        self._monotonic = monotonic
        self._settle = settle
        self._claim = claim
        self._claimed = claimed
        self._beat = beat
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[tuple[TaskEpoch, float] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="opener", daemon=True)
        self._stopping = threading.Event()
        # librdkafka waits half a second between two attempts to fence: not in the thread that opens the other tasks.
        self._executioner = ThreadPoolExecutor(1, thread_name_prefix="fence")
        self._fencing: dict[str, Future[None]] = {}
        self._failures = 0  # in a row
        self._beyond: dict[TopicPartition, float] = {}  # since when a committed offset is beyond the end

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def open(self, task_epochs: list[TaskEpoch], after_seconds: float = 0.0) -> None:
        """Open these tasks, not before ``after_seconds`` have passed."""
        not_before = self._monotonic() + after_seconds
        for task_epoch in task_epochs:
            self._queue.put((task_epoch, not_before))

    def stop(self, timeout: float) -> None:
        """End the thread; what is not open yet stays so."""
        self._stopping.set()
        self._queue.put(None)
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout)

    def _run(self) -> None:
        waiting: dict[TaskEpoch, float] = {}
        try:
            while not self._stopping.is_set():
                self._beat()
                waiting |= self._arrived(LOOK_AGAIN_SECONDS if waiting else 0.5)
                waiting = {
                    task_epoch: at for task_epoch, at in waiting.items() if self._ledger.opening(task_epoch) is not None
                }
                now = self._monotonic()
                due = [task_epoch for task_epoch, not_before in waiting.items() if not_before <= now]
                if due:
                    try:
                        left = self._attempt(due)
                    except (KafkaException, BrokerError) as error:
                        why = error.args[0]
                        log.warning("tasks wait to be opened: %s", why.str() if hasattr(why, "str") else why)
                        self._failures += 1
                    else:
                        self._failures = 0
                        waiting = {
                            task_epoch: at
                            for task_epoch, at in waiting.items()
                            if task_epoch not in due or task_epoch in left
                        }
        except BaseException as error:  # noqa: BLE001 - a thread must not die in silence
            self._on_failure(error)

    def _arrived(self, timeout: float) -> dict[TaskEpoch, float]:
        arrived: dict[TaskEpoch, float] = {}
        try:
            entry = self._queue.get(timeout=timeout)
            while True:
                if entry is not None:
                    arrived[entry[0]] = entry[1]
                entry = self._queue.get_nowait()
        except queue.Empty:
            return arrived

    @property
    def _question_seconds(self) -> float:
        return min(CALL_SECONDS, QUESTION_SECONDS * 2.0**self._failures)

    def _attempt(self, task_epochs: list[TaskEpoch]) -> list[TaskEpoch]:
        """Open what can be opened; return what must wait.

        Raises TopicsError while upkeep of the state is under way, and OffsetsError for offsets beyond the end.
        """
        # Whoever does upkeep sets the mark and looks for members; a member looks for the mark: one sees the other.
        if self._ground.exists(self._upkeep, self._question_seconds):
            raise TopicsError(f"topic {self._upkeep!r} is there: the state is being changed; start again after that")
        tasks = {
            task_epoch: task.sources
            for task_epoch in task_epochs
            if (task := self._ledger.opening(task_epoch)) is not None
        }
        owners = self._ground.owners(
            [source for sources in tasks.values() for source in sources], self._question_seconds
        )
        # What a dead predecessor or this worker itself has left open is gone before any offset is trusted.
        fencing = self._fence(owners)
        tasks = {
            task_epoch: task for task_epoch, task in tasks.items() if not {owners[source] for source in task} & fencing
        }
        mine = self._outputs_of(owners, {self._me})
        if not self._settle(mine, self._outputs_of(owners, set(owners.values())) - mine, self._ground.group):
            return task_epochs
        committed = self._committed(tasks)
        if committed:
            self._start(committed, owners)
        return [task_epoch for task_epoch in task_epochs if self._ledger.opening(task_epoch) is not None]

    def _committed(
        self, tasks: dict[TaskEpoch, tuple[TopicPartition, ...]]
    ) -> dict[TaskEpoch, dict[TopicPartition, int]]:
        """Return the stable offsets of the tasks; those that a live member still has pending are left out."""
        sources = [source for sources in tasks.values() for source in sources]
        found = self._ground.committed(sources, STABLE_SECONDS)
        if found is not None:
            return {task_epoch: {source: found[source] for source in sources} for task_epoch, sources in tasks.items()}
        if len(tasks) == 1:
            return {}
        # One that is pending keeps the others of the same question waiting: ask for each alone.
        alone = {
            task_epoch: self._ground.committed(list(sources), STABLE_ALONE_SECONDS)
            for task_epoch, sources in tasks.items()
        }
        return {task_epoch: offsets for task_epoch, offsets in alone.items() if offsets is not None}

    def _fence(self, owners: dict[TopicPartition, str | None]) -> set[str | None]:
        """Have the dead among the owners fenced; return those that are not yet. Nobody else waits for that."""
        unknown = set(owners.values()) - {None, self._me} - set(self._fencing)
        for owner in stale_owners(unknown, self._ground.live(self._question_seconds), self._me) if unknown else ():
            outputs = self._outputs_of(owners, {owner})
            self._fencing[owner] = self._executioner.submit(self._ground.fence, owner, outputs, CALL_SECONDS)
        wait(self._fencing.values(), FENCE_SECONDS)
        for owner, fence in list(self._fencing.items()):
            if fence.done():
                del self._fencing[owner]
                fence.result()
                log.info("fenced %s, which is no longer in the group", owner)
        return set(self._fencing)

    def _outputs_of(self, owners: dict[TopicPartition, str | None], whose: set[str | None]) -> set[OutputPartition]:
        numbers = {source.partition for source, owner in owners.items() if owner in whose}
        return {(topic, number) for topic in self._outputs for number in numbers}

    def _start(
        self, committed: dict[TaskEpoch, dict[TopicPartition, int]], owners: dict[TopicPartition, str | None]
    ) -> None:
        bounds = self._bounds([source for at in committed.values() for source in at])
        starts: dict[TaskEpoch, dict[TopicPartition, int]] = {}
        for task_epoch, offsets in committed.items():
            found = {
                source: start_offset(offset, bounds[source], self._reset, claimed=owners[source] is not None)
                for source, offset in offsets.items()
            }
            beyond = [source for source, start in found.items() if start.offset is None]
            self._doubt(beyond, found)
            if beyond:
                continue
            for source, start in found.items():
                if start.remark:
                    log.warning("%s: %s", source, start.remark)
            starts[task_epoch] = {source: start.offset for source, start in found.items() if start.offset is not None}
        strange = {
            task_epoch: at for task_epoch, at in starts.items() if any(owners[source] != self._me for source in at)
        }
        if strange and not self._claim(strange):
            starts = {task_epoch: at for task_epoch, at in starts.items() if task_epoch not in strange}
        for task_epoch, at in starts.items():
            self._claimed(task_epoch, at)

    def _bounds(self, sources: list[TopicPartition]) -> dict[TopicPartition, Bounds]:
        """Return what the sources hold. The high watermark comes last, so that it is not the lower one."""
        stable = self._ground.bounds(sources, self._question_seconds)
        high = self._ground.high_watermarks(sources, self._question_seconds)
        return {source: Bounds(*stable[source], high[source]) for source in sources}

    def _doubt(self, beyond: list[TopicPartition], found: dict[TopicPartition, Start]) -> None:
        """Raise OffsetsError if the committed offset of one of the sources has been beyond its end for long enough."""
        now = self._monotonic()
        self._beyond = {s: at for s, at in self._beyond.items() if s not in found} | {
            source: self._beyond.get(source, now) for source in beyond
        }
        for source in beyond:
            if now - self._beyond[source] >= BEYOND_SECONDS:
                group = self._ground.group_id
                raise OffsetsError(
                    f"{source}: {found[source].remark}: the offset was set by hand, the brokers lost records, or the "
                    "topic was made anew while a worker ran. Which events are still to be processed cannot be told "
                    f"from here: set the offsets of group {group!r} to where it must go on (kafka-consumer-groups "
                    f"--group {group} --topic {source.topic} --reset-offsets --execute with --to-earliest, --to-latest "
                    "or --to-offset), then start again"
                )
