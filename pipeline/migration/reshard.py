"""Gives a pipeline more partitions: its topics grow, and what is remembered of each key moves to where its events go.

What must hold: workers are stopped, and what lies in the old partitions is processed, to the last event, since what is
left there would be processed without what its keys did before. So producers must know the new number, or stand still.

It may be cut short anywhere and run again. First the mark is set, which keeps workers from starting and says what is
done. Then the events grow, so that whatever lies in an old partition was sent before; when all of that is processed,
the other topics. Then, one transaction for each old partition of each changelog, the rows that belong elsewhere are
written there, with nulls where they were: each row is in exactly one place at any time. The mark goes last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.declaration import Pipeline
from pipeline.errors import TopicsError
from pipeline.kafka import provisioning
from pipeline.kafka.topic_rewriter import TopicRewriter
from pipeline.migration.changelog_rows import ChangelogRows
from pipeline.migration.lock import MigrationLock
from pipeline.migration.partition_history import PartitionEra, PartitionHistory, longest
from pipeline.migration.partitioners import PartitionerDetector
from pipeline.migration.stopped_group import StoppedGroup
from pipeline.records import TopicPartition
from pipeline.settings import KafkaSettings
from pipeline.state.changelog import PARTITION_HISTORY, TABLE_VERSION

COMMAND = "reshard"


class Unprocessed(TopicsError):  # noqa: N818 - the name is what happened
    """Something lies in the old partitions: workers must run before this can go on."""


@dataclass(frozen=True, slots=True)
class ReshardStep:
    """From how many partitions to how many; the last stage of ``growth`` is the one that ends by it."""

    old: int
    new: int
    growth: PartitionHistory

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, found: dict[str, Any]) -> "ReshardStep":
        """Read what ``as_dict`` gave."""
        return cls(found["old"], found["new"], PartitionHistory.of(found["growth"]))

    def away(self, rows: Iterable[bytes], partition: int) -> dict[int, list[bytes]]:
        """Return the keys that belong elsewhere than in this partition, by where."""
        found: dict[int, list[bytes]] = {}
        for key in rows:
            home = self.growth.home(key, self.new)
            if home != partition:
                found.setdefault(home, []).append(key)
        return found


@dataclass(frozen=True, slots=True)
class ReshardReport:
    """What was done: by table how many rows there were in the old partitions, and how many of them went elsewhere."""

    old: int
    new: int
    partitioner: str
    rows: dict[str, int]
    moved: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def target(pipeline: Pipeline, there: Mapping[str, int], asked: int | None) -> tuple[int, int]:
    """Return from how many partitions to how many. Pure.

    By default to as many as the events have, if that is more than the state has, or else as are declared. Raises
    TopicsError if that cannot be done, or topics lack.
    """
    read, kept = pipeline.sources, list(pipeline.changelogs.values())
    if not kept:
        raise TopicsError(f"{pipeline.name} remembers nothing: give its topics more partitions by Kafka's own means")
    lacking = [topic for topic in (*read, *kept) if topic not in there]
    if lacking:
        raise TopicsError(f"topic {lacking[0]!r} is missing; `surgetank topics apply {pipeline.name}` makes it")
    old = min(there[topic] for topic in kept)
    events = there[pipeline.events.topic]
    new = asked or (events if events > old else pipeline.events.partitions)
    largest = max((*read, *kept), key=lambda topic: there[topic])
    if new < there[largest]:
        raise TopicsError(
            f"topic {largest!r} has {there[largest]} partitions, and Kafka cannot take any away: to have {new}, send "
            "the events to a topic of another name, to a pipeline of another name, and let this one run dry"
        )
    if new == old:
        raise TopicsError(f"the state of {pipeline.name} has {old} partitions already; say more with --partitions")
    for topic in read:
        if there[topic] not in {old, new}:  # what lies in its new partitions would lie wrong once more
            raise TopicsError(
                f"topic {topic!r} has {there[topic]} partitions and the state has {old}: reshard to {there[topic]} "
                f"first, and work off what lies there, then go on to {new}"
            )
    return old, new


class Reshard:
    """Does it. ``told`` is given what is worked on, how much of it is done, and how much there is.

    Raises TopicsError where it cannot be done, before anything moves; BrokerError where brokers refuse.
    """

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline, told: Callable[[str, int, int], None]) -> None:
        self._kafka = kafka
        self._pipeline = pipeline
        self._told = told
        self._mark = MigrationLock(kafka, pipeline)
        self._standstill = StoppedGroup(kafka, pipeline)

    def run(
        self, partitions: int | None = None, partitioner: str | None = None, *, dry_run: bool = False
    ) -> ReshardReport:
        """Go to so many partitions, by default those of the events. ``partitioner``: how producers choose, if named.

        ``dry_run``: change nothing, and return what would move.
        """
        self._standstill.check()
        if not dry_run:
            self._standstill.fence()
        found = self._mark.begun(COMMAND)
        begun = None if found is None else ReshardStep.of(found["move"])
        if begun is not None and partitions not in {None, begun.new}:
            raise TopicsError(f"to go to {begun.new} partitions was begun and not finished; do that first")
        moving = begun is not None and self._grown(begun)
        try:
            if begun is None:
                move = self._planned(partitions, partitioner)
            else:  # until all has grown nothing has moved, and workers that were about to start may have gone on
                move = begun if moving else self._planned(begun.new, partitioner or begun.growth.partitioner)
        except Unprocessed:
            if not dry_run:
                self._mark.remove()  # that of a run that was cut short would keep workers from it for ever
            raise
        if dry_run:
            return self._moved(move, None)
        pipeline = self._pipeline
        rewriter = TopicRewriter(self._kafka, f"{pipeline.name}.upkeep", pipeline.group, self._standstill.check)
        try:
            if not moving:
                self._mark.set(rewriter, COMMAND, move=move.as_dict())
                self._grow(move)
            with rewriter.transaction():
                self._begin_new(move, rewriter)
            report = self._moved(move, rewriter)
        finally:
            rewriter.close()
        self._mark.remove()
        return report

    def _planned(self, partitions: int | None, partitioner: str | None) -> ReshardStep:
        """Find out what is to be done. Raises TopicsError where it cannot be done."""
        pipeline, kept = self._pipeline, list(self._pipeline.changelogs.values())
        there = provisioning.existing(self._kafka)
        old, new = target(pipeline, there, partitions)
        until = self._until(old)
        self._processed(old)
        suspects, growth = PartitionerDetector(old, partitioner), None
        meanings: dict[str, set[str]] = {}
        for done, source in enumerate(TopicPartition(topic, number) for topic in kept for number in range(old)):
            self._told("looking at keys", done, old * len(kept))
            part = self._part(source)
            suspects.saw(part.rows, source.partition)
            growth = longest((growth, part.growth))
            if part.meaning is not None:
                meanings.setdefault(source.topic, set()).add(part.meaning.fingerprint)
        for topic, found in meanings.items():
            if len(found) > 1:  # moved, rows of one would be taken for rows of another
                raise TopicsError(
                    f"partitions of {topic!r} hold rows of different declarations: run `surgetank state rebuild "
                    f"{pipeline.name}` before"
                )
        stages = growth.stages if growth is not None else ()
        return ReshardStep(old, new, PartitionHistory(suspects.name(), (*stages, PartitionEra(old, until))))

    def _until(self, old: int) -> dict[str, tuple[int, ...]]:
        """Return by topic what is committed of the old partitions."""
        committed = self._standstill.committed()
        return {t: tuple(max(0, committed[TopicPartition(t, p)]) for p in range(old)) for t in self._pipeline.sources}

    def _grown(self, move: ReshardStep) -> bool:
        """Whether all of the state has the new number of partitions."""
        there = provisioning.existing(self._kafka)
        return all(there.get(topic, 0) >= move.new for topic in self._pipeline.changelogs.values())

    def _processed(self, old: int) -> None:
        """Raise Unprocessed, saying how many records, if something in the old partitions is not processed."""
        committed = {source: at for source, at in self._standstill.committed().items() if source.partition < old}
        bounds = self._standstill.bounds(list(committed))
        left = sum(max(0, bounds[source][1] - max(at, bounds[source][0])) for source, at in committed.items())
        if left:
            raise Unprocessed(
                f"{left:,} records of {', '.join(self._pipeline.sources)} in partitions 0 to {old - 1} are not "
                "processed, and would be without what their keys did before. Run workers until `surgetank lag "
                f"{self._pipeline.name}` is 0 there (with --set state.drain=true if the topics have more partitions "
                "already), stop them, and run this again while nothing is sent to the old partitions"
            )

    def _unchanged(self, move: ReshardStep) -> None:
        """Raise TopicsError if workers have gone on since the move was planned."""
        if self._until(move.old) != dict(move.growth.stages[-1].until):
            raise TopicsError(f"workers of {self._pipeline.name} ran meanwhile; run it again")

    def _grow(self, move: ReshardStep) -> None:
        """Give all topics the number: first those that are read, the state when nothing is left in what was."""
        pipeline = self._pipeline
        provisioning.grow(self._kafka, pipeline.sources, move.new)
        try:
            self._processed(move.old)
            self._unchanged(move)
        except TopicsError:
            self._mark.remove()  # workers that drain may start, others are refused for the numbers
            raise
        provisioning.grow(self._kafka, [pipeline.scores.topic, pipeline.dead_letters, pipeline.recorded], move.new)
        provisioning.grow(self._kafka, list(pipeline.changelogs.values()), move.new)

    def _begin_new(self, move: ReshardStep, rewriter: TopicRewriter) -> None:
        """Have the new partitions read from their beginning, whatever ``kafka.reset`` says, and note the growth."""
        new = {source: at for source, at in self._standstill.committed().items() if source.partition >= move.old}
        bounds = self._standstill.bounds(list(new))
        rewriter.offsets({source: bounds[source][0] for source, at in new.items() if at < 0})
        for topic in self._pipeline.changelogs.values():
            for number in range(move.new):
                rewriter.put(topic, number, PARTITION_HISTORY, move.growth.dump())

    def _moved(self, move: ReshardStep, rewriter: TopicRewriter | None) -> ReshardReport:
        """Move what lies wrong in each old partition; without a rewriter only count it."""
        changelogs = self._pipeline.changelogs
        rows, moved = dict.fromkeys(changelogs, 0), dict.fromkeys(changelogs, 0)
        places = [
            (name, TopicPartition(topic, number)) for name, topic in changelogs.items() for number in range(move.old)
        ]
        for done, (name, source) in enumerate(places):
            self._told(f"moving rows of {name}", done, len(places))
            part = self._part(source)
            away = move.away(part.rows, source.partition)
            rows[name] += len(part.rows)
            moved[name] += sum(map(len, away.values()))
            if away and rewriter is not None:
                _move(part, source, away, rewriter)
        return ReshardReport(move.old, move.new, move.growth.partitioner, rows, moved)

    def _part(self, source: TopicPartition) -> ChangelogRows:
        return ChangelogRows.read(self._kafka, source, self._standstill.bounds([source])[source])


def _move(
    part: ChangelogRows, source: TopicPartition, away: Mapping[int, list[bytes]], rewriter: TopicRewriter
) -> None:
    with rewriter.transaction():
        for home, keys in away.items():
            if part.meaning is not None:
                rewriter.put(source.topic, home, TABLE_VERSION, part.meaning.dump())
            for key in keys:
                rewriter.put(source.topic, home, key, part.rows[key])
                rewriter.put(source.topic, source.partition, key, None)
