"""Increases the number of partitions of a pipeline: topics grow, and the state of each key moves to its new partition.

Workers must be stopped, and all records of the old partitions processed, because the rest would be processed without
the state of its keys. So producers must use the new number of partitions, or pause.

A run may be interrupted anywhere and repeated. First the migration lock is set, which keeps workers from starting and
records the step. Then the event topics grow, so that all records of old partitions were sent before; when these are
processed, the other topics grow. Then, in one transaction per old changelog partition, rows of other partitions are
written there and tombstones here, so that each row always is in exactly one partition. The lock is removed last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from surgetank.declaration import Pipeline
from surgetank.errors import TopicsError
from surgetank.kafka import provisioning
from surgetank.kafka.topic_configs import batch_bytes
from surgetank.kafka.topic_rewriter import TopicRewriter
from surgetank.migration.changelog_rows import ChangelogRows
from surgetank.migration.lock import MigrationLock
from surgetank.migration.partition_history import PartitionEra, PartitionHistory, longest
from surgetank.migration.partitioners import PartitionerDetector
from surgetank.migration.stopped_group import StoppedGroup
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from surgetank.state.changelog import PARTITION_HISTORY, TABLE_VERSION

COMMAND = "reshard"


class Unprocessed(TopicsError):  # noqa: N818 - the name is what happened
    """The old partitions have unprocessed records: workers must process them first."""


@dataclass(frozen=True, slots=True)
class ReshardStep:
    """The old and the new number of partitions; the last stage of ``growth`` is the era that the step ends."""

    old: int
    new: int
    growth: PartitionHistory

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> "ReshardStep":
        """Read the output of ``as_dict``."""
        return cls(found["old"], found["new"], PartitionHistory.of(found["growth"]))

    def misplaced(self, rows: Iterable[bytes], partition: int) -> dict[int, list[bytes]]:
        """Return the keys that belong to other partitions than this one, by their new partition."""
        found: dict[int, list[bytes]] = {}
        for key in rows:
            home = self.growth.home(key, self.new)
            if home != partition:
                found.setdefault(home, []).append(key)
        return found


@dataclass(frozen=True, slots=True)
class ReshardReport:
    """The result: by table, the number of rows in the old partitions, and how many of them moved."""

    old: int
    new: int
    partitioner: str
    rows: dict[str, int]
    moved: dict[str, int]


def target(pipeline: Pipeline, existing: Mapping[str, int], requested: int | None) -> tuple[int, int]:
    """Return the old and the new number of partitions. Pure.

    The default is the number of the events if it is greater than that of the state, otherwise the declared number.
    Raises TopicsError if the change is not possible or topics are missing.
    """
    read, changelogs = pipeline.sources, list(pipeline.changelogs.values())
    if not changelogs:
        raise TopicsError(f"{pipeline.name} has no state: add partitions to its topics with Kafka's own tools")
    missing = [topic for topic in (*read, *changelogs) if topic not in existing]
    if missing:
        raise TopicsError(f"topic {missing[0]!r} is missing; create it with `surgetank topics apply {pipeline.name}`")
    old = min(existing[topic] for topic in changelogs)
    events = existing[pipeline.events.topic]
    new = requested or (events if events > old else pipeline.events.partitions)
    largest = max((*read, *changelogs), key=lambda topic: existing[topic])
    if new < existing[largest]:
        raise TopicsError(
            f"topic {largest!r} has {existing[largest]} partitions, and Kafka cannot remove partitions: to have {new}, "
            "send the events to a new topic of a new pipeline, and let this pipeline process its remaining events"
        )
    if new == old:
        raise TopicsError(f"the state of {pipeline.name} already has {old} partitions; set more with --partitions")
    for topic in read:
        if existing[topic] not in {old, new}:  # records in its new partitions would be in a wrong partition again
            raise TopicsError(
                f"topic {topic!r} has {existing[topic]} partitions and the state has {old}: reshard to "
                f"{existing[topic]} first, process the records there, then continue to {new}"
            )
    return old, new


class Reshard:
    """Runs the change. ``report_progress`` receives the current step, the amount done and the total.

    Raises TopicsError, before anything moves, if the change is not possible; BrokerError if brokers reject a request.
    """

    def __init__(
        self, kafka: KafkaSettings, pipeline: Pipeline, report_progress: Callable[[str, int, int], None]
    ) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._report_progress = report_progress
        self._lock = MigrationLock(kafka, pipeline)
        self._group = StoppedGroup(kafka, pipeline)

    def run(
        self, partitions: int | None = None, partitioner: str | None = None, *, dry_run: bool = False
    ) -> ReshardReport:
        """Change to ``partitions`` partitions, by default those of the events. ``partitioner``: that of the producers.

        ``dry_run``: change nothing, and return the rows that would move.
        """
        self._group.check()
        if not dry_run:
            self._group.fence()
        found = self._lock.unfinished(COMMAND)
        unfinished = None if found is None else ReshardStep.of(found["move"])
        if unfinished is not None and partitions not in {None, unfinished.new}:
            raise TopicsError(
                f"the change to {unfinished.new} partitions was started and not finished; finish it first"
            )
        has_grown = unfinished is not None and self._has_grown(unfinished)
        try:
            if unfinished is None:
                move = self._plan(partitions, partitioner)
            else:  # nothing has moved until all topics have grown, and starting workers may have processed more
                move = (
                    unfinished
                    if has_grown
                    else self._plan(unfinished.new, partitioner or unfinished.growth.partitioner)
                )
        except Unprocessed:
            if not dry_run:
                self._lock.remove()  # the lock of an interrupted run would keep workers from starting
            raise
        if dry_run:
            return self._move_rows(move, None)
        pipeline = self._pipeline
        rewriter = TopicRewriter(
            self._kafka,
            f"{pipeline.name}.upkeep",
            "state",
            group=pipeline.group,
            permit=self._group.check,
            batch_bytes=batch_bytes(self._kafka, list(pipeline.changelogs.values())),
        )
        try:
            if not has_grown:
                self._lock.set(rewriter, COMMAND, move=move.as_dict())
                self._grow(move)
            with rewriter.transaction():
                self._start_new_partitions(move, rewriter)
            report = self._move_rows(move, rewriter)
        finally:
            rewriter.close()
        self._lock.remove()
        return report

    def _plan(self, partitions: int | None, partitioner: str | None) -> ReshardStep:
        """Return the step to run. Raises TopicsError if it is not possible."""
        pipeline, changelogs = self._pipeline, list(self._pipeline.changelogs.values())
        existing = provisioning.existing(self._kafka)
        old, new = target(pipeline, existing, partitions)
        self._check_unshared([topic for topic in pipeline.sources if existing[topic] < new], existing)
        until = self._committed_offsets(old)
        self._check_processed(old)
        detector, growth = PartitionerDetector(old, partitioner), None
        meanings: dict[str, set[str]] = {}
        for done, source in enumerate(TopicPartition(topic, number) for topic in changelogs for number in range(old)):
            self._report_progress("examining keys", done, old * len(changelogs))
            current = self._read_rows(source)
            detector.add(current.rows, source.partition)
            growth = longest((growth, current.growth))
            if current.meaning is not None:
                meanings.setdefault(source.topic, set()).add(current.meaning.fingerprint)
        for topic, found in meanings.items():
            if len(found) > 1:  # after the move, rows of one version would be read as rows of another
                raise TopicsError(
                    f"partitions of {topic!r} hold rows of different declarations: run `surgetank state rebuild "
                    f"{pipeline.name}` first"
                )
        stages = growth.stages if growth is not None else ()
        return ReshardStep(old, new, PartitionHistory(detector.name(), (*stages, PartitionEra(old, until))))

    def _check_unshared(self, growing: list[str], existing: dict[str, int]) -> None:
        """Raise TopicsError if other pipelines read a topic that would get more partitions."""
        for topic, others in self._group.shared_with(growing, existing).items():
            raise TopicsError(
                f"topic {topic!r} is also read by {', '.join(others)}: with more partitions, keys would lie in other "
                "partitions than their state there, and workers would not start. Stop the workers of all of them, add "
                "the partitions with Kafka's own tool (kafka-topics --alter --topic NAME --partitions NUMBER), let "
                "workers of each process what is left with --set state.drain=true, stop them, and reshard each one"
            )

    def _committed_offsets(self, old: int) -> dict[str, tuple[int, ...]]:
        """Return the committed offsets of the old partitions, by topic."""
        committed = self._group.committed()
        return {t: tuple(max(0, committed[TopicPartition(t, p)]) for p in range(old)) for t in self._pipeline.sources}

    def _has_grown(self, move: ReshardStep) -> bool:
        """Return whether all changelogs have the new number of partitions."""
        existing = provisioning.existing(self._kafka)
        return all(existing.get(topic, 0) >= move.new for topic in self._pipeline.changelogs.values())

    def _check_processed(self, old: int) -> None:
        """Raise Unprocessed, with the number of records, if the old partitions have unprocessed records."""
        committed = {source: at for source, at in self._group.committed().items() if source.partition < old}
        bounds = self._group.bounds(list(committed))
        unprocessed = sum(max(0, bounds[source][1] - max(at, bounds[source][0])) for source, at in committed.items())
        if unprocessed:
            raise Unprocessed(
                f"{unprocessed:,} records of {', '.join(self._pipeline.sources)} in partitions 0 to {old - 1} are not "
                "processed, and would be processed without the state of their keys. Run workers until `surgetank lag "
                f"{self._pipeline.name}` is 0 there (with --set state.drain=true if the topics have more partitions "
                "already), stop them, and run this again while nothing is sent to the old partitions"
            )

    def _check_unchanged(self, move: ReshardStep) -> None:
        """Raise TopicsError if workers have committed since the step was planned."""
        if self._committed_offsets(move.old) != dict(move.growth.stages[-1].until):
            raise TopicsError(f"workers of {self._pipeline.name} ran meanwhile; run the command again")

    def _grow(self, move: ReshardStep) -> None:
        """Grow all topics: the source topics first, the others when the old partitions are processed."""
        pipeline = self._pipeline
        provisioning.grow(self._kafka, pipeline.sources, move.new)
        try:
            self._check_processed(move.old)
            self._check_unchanged(move)
        except TopicsError:
            self._lock.remove()  # lets workers that drain start; others are refused by the partition counts
            raise
        outputs = [pipeline.scores.topic, pipeline.dead_letters, pipeline.recorded, pipeline.shadow_scores]
        provisioning.grow(self._kafka, outputs, move.new)
        provisioning.grow(self._kafka, list(pipeline.changelogs.values()), move.new)

    def _start_new_partitions(self, move: ReshardStep, rewriter: TopicRewriter) -> None:
        """Commit the first offsets of the new partitions, whatever ``kafka.reset`` is, and write the history."""
        new = {source: at for source, at in self._group.committed().items() if source.partition >= move.old}
        bounds = self._group.bounds(list(new))
        rewriter.offsets({source: bounds[source][0] for source, at in new.items() if at < 0})
        for topic in self._pipeline.changelogs.values():
            for number in range(move.new):
                rewriter.put(topic, number, PARTITION_HISTORY, move.growth.dump())

    def _move_rows(self, move: ReshardStep, rewriter: TopicRewriter | None) -> ReshardReport:
        """Move the misplaced rows of each old partition; without a rewriter only count them."""
        changelogs = self._pipeline.changelogs
        rows, moved = dict.fromkeys(changelogs, 0), dict.fromkeys(changelogs, 0)
        targets = [
            (name, TopicPartition(topic, number)) for name, topic in changelogs.items() for number in range(move.old)
        ]
        for done, (name, source) in enumerate(targets):
            self._report_progress(f"moving rows of {name}", done, len(targets))
            current = self._read_rows(source)
            misplaced = move.misplaced(current.rows, source.partition)
            rows[name] += len(current.rows)
            moved[name] += sum(map(len, misplaced.values()))
            if misplaced and rewriter is not None:
                _write_moved(current, source, misplaced, rewriter)
        return ReshardReport(move.old, move.new, move.growth.partitioner, rows, moved)

    def _read_rows(self, source: TopicPartition) -> ChangelogRows:
        return ChangelogRows.read(self._kafka, source, self._group.bounds([source])[source])


def _write_moved(
    current: ChangelogRows, source: TopicPartition, misplaced: Mapping[int, list[bytes]], rewriter: TopicRewriter
) -> None:
    with rewriter.transaction():
        for home, keys in misplaced.items():
            if current.meaning is not None:
                rewriter.put(source.topic, home, TABLE_VERSION, current.meaning.dump())
            for key in keys:
                rewriter.put(source.topic, home, key, current.rows[key])
                rewriter.put(source.topic, source.partition, key, None)
