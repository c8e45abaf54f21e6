"""Brings the tables of a pipeline to what is declared now: rows are migrated where they hold enough, else worked out
anew from the events that made them.

Of each partition of each changelog all that changes is one transaction: the new row of each key, a null for keys that
are gone, and what the rows mean now. So a run that is cut short leaves each partition as it was or as it should be, and
the next run goes on. The rows of one partition are held in memory, old ones and new ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pipeline.declaration import PREDICTIONS, Pipeline
from pipeline.errors import StateMismatch, TopologyError
from pipeline.features.row_layout import RowLayout, declared, migrate
from pipeline.features.tables import TableState
from pipeline.kafka import provisioning
from pipeline.kafka.topic_rewriter import TopicRewriter
from pipeline.migration.changelog_rows import ChangelogRows
from pipeline.migration.lock import MigrationLock
from pipeline.migration.partition_history import PartitionHistory, longest
from pipeline.migration.recompute import feature_rows, last_scores
from pipeline.migration.sources import EventSources
from pipeline.migration.stopped_group import StoppedGroup
from pipeline.processing.stateful_features import (
    HOUR_MS,
    LATE_MS,
    plausible_times,
    predictions_ms,
    row_serdes,
    table_versions,
)
from pipeline.records import TopicPartition
from pipeline.settings import Settings
from pipeline.state.changelog import PARTITION_HISTORY, TABLE_VERSION, TableVersion
from pipeline.state.row_serde import RowSerde
from pipeline.state.sparse_serde import SparseSerde

COMMAND = "rebuild"


class RebuildAction(StrEnum):
    """What is done to a partition of a table."""

    NOTHING = "nothing"
    MIGRATED = "migrated"
    REBUILT = "rebuilt"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RebuildStep:
    """What is done to one partition: of so many rows, from so many records; ``gone`` are records that are deleted."""

    table: str
    partition: int
    action: RebuildAction
    rows: int
    records: int
    gone: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def usable(
    meaning: TableVersion | None, wanted: TableVersion, values: Sequence[bytes], format_: RowSerde
) -> RebuildAction | None:
    """Return what makes values of ``meaning`` those of ``wanted``, kept in ``format_``; None: nothing does. Pure."""
    if meaning is None:
        return None
    if meaning.fingerprint == wanted.fingerprint and format_.fits(values).all():
        return RebuildAction.NOTHING
    layouts = _layouts(meaning, wanted)
    if layouts is None or migrate(*layouts, layouts[0].rows(0)) is None:
        return None
    return RebuildAction.MIGRATED if SparseSerde(layouts[0].fresh).fits(values).all() else None


def decide(
    use: RebuildAction | None, *, rows: int, records: int, gone: int, anew: bool, from_what_is_left: bool
) -> RebuildAction:
    """Return what is done to a partition with so many rows, of which ``use`` is what ``usable`` says. Pure.

    ``anew``: whether it is rebuilt in any case; ``from_what_is_left``: also where records are gone.
    """
    if use is not None and not anew:
        return use
    if use is None and not anew and not (rows or records or gone):
        return RebuildAction.NOTHING
    return RebuildAction.REFUSED if gone and not from_what_is_left else RebuildAction.REBUILT


def _layouts(meaning: TableVersion, wanted: TableVersion) -> tuple[RowLayout, RowLayout] | None:
    if meaning.declared is None or wanted.declared is None:
        return None
    old, new = declared(meaning.declared), declared(wanted.declared)
    return None if old is None or new is None else (old, new)


def migrated(rows: dict[bytes, bytes], meaning: TableVersion, wanted: TableVersion) -> dict[bytes, bytes]:
    """Return values of ``meaning`` as ``wanted`` would have them; they must hold enough for that. Pure."""
    layouts = _layouts(meaning, wanted)
    assert layouts is not None
    old, new = (SparseSerde(layout.fresh) for layout in layouts)
    values = list(rows.values())
    found = migrate(*layouts, old.unpack(values))
    assert found is not None
    return dict(zip(rows, new.pack(found, old.source_offsets(values)), strict=True))


class Rebuild:
    """Plans and does it. ``told`` is given what is worked on, how much of it is done, and how much there is.

    ``tables`` are those concerned, all if none is named; the other choices are those of ``decide``. Raises
    TopologyError for a table that is not declared, TopicsError where the topics do not fit, and BrokerError.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        *,
        tables: Sequence[str] = (),
        from_events: bool = False,
        from_what_is_left: bool = False,
        told: Callable[[str, int, int], None],
    ) -> None:
        strange = sorted({*tables} - {*pipeline.changelogs})
        if strange:
            raise TopologyError(
                f"pipeline {pipeline.name!r} has no table {strange[0]!r}; it has {', '.join(pipeline.changelogs)}"
            )
        self._settings = settings
        self._kafka = settings.kafka
        self._pipeline = pipeline
        self._tables = list(tables) or list(pipeline.changelogs)
        self._from_events = from_events
        self._from_what_is_left = from_what_is_left
        self._told = told
        self._mark = MigrationLock(settings.kafka, pipeline)
        if (begun := self._mark.begun(COMMAND)) is not None:  # what was asked for then is asked for still
            self._tables = [name for name in pipeline.changelogs if name in {*self._tables, *begun["tables"]}]
            self._from_events |= begun["from_events"]
            self._from_what_is_left |= begun["from_what_is_left"]
        self._standstill = StoppedGroup(settings.kafka, pipeline)
        self._formats, _ = row_serdes(pipeline)
        self._meanings = table_versions(pipeline)
        self._memories: dict[str, TableState] = {memory.table.name: memory for memory in pipeline.memories}
        self._believes = plausible_times(settings.state)
        self._slack_ms = LATE_MS + round(settings.state.future_hours_max * HOUR_MS)
        self._growth: PartitionHistory | None = None
        self._sources: EventSources | None = None

    def plan(self) -> list[RebuildStep]:
        """Return what there is to do, partition by partition. Nothing is written, and workers may run."""
        there = self._there()
        partitions = there[self._pipeline.events.topic]
        parts = self._parts(partitions)
        self._sources = self._read_from(there)
        return [self._step(name, number, *parts[name, number]) for name in self._tables for number in range(partitions)]

    def run(self) -> list[RebuildStep]:
        """Do it, once workers are stopped, and return what was done.

        Raises StateMismatch, before anything is written, where it cannot be done.
        """
        self._standstill.check()
        self._there()
        self._standstill.fence()
        rewriter = TopicRewriter(
            self._kafka, f"{self._pipeline.name}.upkeep", self._pipeline.group, self._standstill.check
        )
        try:
            asked = {"from_events": self._from_events, "from_what_is_left": self._from_what_is_left}
            self._mark.set(rewriter, COMMAND, tables=self._tables, **asked)
            steps = self.plan()  # now, since from here on no worker changes what it rests on
            refused = [step for step in steps if step.action is RebuildAction.REFUSED]
            if refused:
                self._mark.remove()
                raise StateMismatch(
                    f"table {refused[0].table!r} cannot be migrated, and of the records that made it "
                    f"{sum(step.gone for step in refused):,} are deleted by now, as of partition "
                    f"{refused[0].partition}; with --from-what-is-left it is rebuilt from the others"
                )
            for step in steps:
                if step.action is not RebuildAction.NOTHING:
                    self._do(step, rewriter)
        finally:
            rewriter.close()
        self._mark.remove()
        return steps

    def _there(self) -> dict[str, int]:
        """Return the topics with their numbers of partitions, checked."""
        there = provisioning.existing(self._kafka)
        there.pop(self._pipeline.upkeep, None)
        provisioning.fit(self._pipeline, there)
        return there

    def _parts(self, partitions: int) -> dict[tuple[str, int], tuple[RebuildAction | None, int]]:
        """Return of each partition of the tables what use can be made of its rows, and how many there are."""
        found: dict[tuple[str, int], tuple[RebuildAction | None, int]] = {}
        places = [(name, number) for name in self._pipeline.changelogs for number in range(partitions)]
        for done, (name, number) in enumerate(places):
            self._told("looking at state", done, len(places))
            part = self._part(name, number)
            values = list(part.rows.values())
            found[name, number] = (
                usable(part.meaning, self._meanings[name], values, self._formats[name]),
                len(values),
            )
            self._growth = longest((self._growth, part.growth))
        self._told("looking at state", len(places), len(places))
        return found

    def _part(self, name: str, number: int) -> ChangelogRows:
        source = TopicPartition(self._pipeline.changelogs[name], number)
        return ChangelogRows.read(self._kafka, source, self._standstill.bounds([source])[source])

    def _read_from(self, there: dict[str, int]) -> EventSources:
        sources = self._standstill.sources(there)
        scores = [
            TopicPartition(self._pipeline.scores.topic, number) for number in range(there[self._pipeline.scores.topic])
        ]
        return EventSources(
            self._kafka,
            self._pipeline,
            committed=self._standstill.committed(),
            bounds=self._standstill.bounds([*sources, *scores]),
            partitions=there[self._pipeline.events.topic],
            growth=self._growth,
            value_bytes_max=self._settings.dead_letters.value_bytes_max,
        )

    def _step(self, name: str, number: int, use: RebuildAction | None, rows: int) -> RebuildStep:
        assert self._sources is not None
        if name == PREDICTIONS:
            records, gone = self._sources.scores(number)
        else:
            records, gone = self._sources.records(self._pipeline.feed_of(self._memories[name]).topic, number)
        action = decide(
            use,
            rows=rows,
            records=records,
            gone=gone,
            anew=self._from_events,
            from_what_is_left=self._from_what_is_left,
        )
        return RebuildStep(name, number, action, rows, records, gone)

    def _do(self, step: RebuildStep, rewriter: TopicRewriter) -> None:
        part, topic = self._part(step.table, step.partition), self._pipeline.changelogs[step.table]
        wanted = self._meanings[step.table]
        if step.action is RebuildAction.MIGRATED:
            assert part.meaning is not None
            rows = migrated(part.rows, part.meaning, wanted)
        else:
            rows = self._anew(step)
        what, done = f"{step.table}, partition {step.partition}: writing", 0
        with rewriter.transaction():
            rewriter.put(topic, step.partition, TABLE_VERSION, wanted.dump())
            if self._growth is not None:
                rewriter.put(topic, step.partition, PARTITION_HISTORY, self._growth.dump())
            for key in part.rows.keys() - rows.keys():
                rewriter.put(topic, step.partition, key, None)
            for done, (key, value) in enumerate(rows.items()):
                if part.rows.get(key) != value:
                    rewriter.put(topic, step.partition, key, value)
                if done % 10_000 == 0:
                    self._told(what, done, len(rows))
        self._told(what, len(rows), len(rows))

    def _anew(self, step: RebuildStep) -> dict[bytes, bytes]:
        assert self._sources is not None
        read = 0

        def told(records: int) -> None:
            nonlocal read
            read += records
            self._told(f"{step.table}, partition {step.partition}: reading", read, step.records)

        format_ = self._formats[step.table]
        if step.table == PREDICTIONS:
            scores = self._sources.scored(step.partition, told)
            return last_scores(format_, scores, predictions_ms(self._pipeline), self._slack_ms)
        memory = self._memories[step.table]
        feed = self._pipeline.feed_of(memory)
        events = self._sources.events(feed, step.partition, told)
        return feature_rows(memory, format_, feed.time, events, self._believes, self._slack_ms)
