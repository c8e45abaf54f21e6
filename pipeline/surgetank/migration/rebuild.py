"""Brings the state of a pipeline to its current declaration: rows are migrated if they hold enough data, otherwise
recomputed from their source events.

All changes of one changelog partition are one transaction: the new row of each key, tombstones for removed keys, and
the table version. An interrupted run leaves each partition either unchanged or complete, and the next run continues.
The old and new rows of one partition are held in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from surgetank.declaration import PREDICTIONS, Pipeline
from surgetank.errors import StateMismatch, TopologyError
from surgetank.features.row_layout import RowLayout, layout_from_declaration, migrate
from surgetank.features.tables import TableState
from surgetank.kafka import provisioning, topic_configs
from surgetank.kafka.topic_configs import batch_bytes
from surgetank.kafka.topic_rewriter import TopicRewriter
from surgetank.migration.changelog_rows import ChangelogRows
from surgetank.migration.lock import MigrationLock
from surgetank.migration.partition_history import PartitionHistory, longest
from surgetank.migration.recompute import feature_rows, last_scores
from surgetank.migration.sources import EventSources
from surgetank.migration.stopped_group import StoppedGroup
from surgetank.processing.largest_key import largest_key
from surgetank.processing.stateful_features import (
    HOUR_MS,
    LATE_MS,
    plausible_times,
    predictions_ms,
    row_serdes,
    table_versions,
)
from surgetank.records import TopicPartition, large_binary
from surgetank.settings import Settings
from surgetank.state.changelog import PARTITION_HISTORY, TABLE_VERSION, TableVersion
from surgetank.state.row_serde import RowSerde
from surgetank.state.sparse_serde import SparseSerde

COMMAND = "rebuild"


class RebuildAction(StrEnum):
    """The action for a partition of a table."""

    NOTHING = "nothing"
    MIGRATED = "migrated"
    REBUILT = "rebuilt"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class RebuildStep:
    """The action for one partition, its rows, its source records, and how many of these are deleted (``gone``)."""

    table: str
    partition: int
    action: RebuildAction
    rows: int
    records: int
    gone: int


def usable(
    meaning: TableVersion | None, wanted: TableVersion, values: Sequence[bytes], serde: RowSerde
) -> RebuildAction | None:
    """Return the action that turns values of ``meaning`` into those of ``wanted``, None if there is none. Pure.

    ``serde`` serializes the rows of ``wanted``.
    """
    if meaning is None:
        return None
    if meaning.fingerprint == wanted.fingerprint and serde.fits(large_binary(values)).all():
        return RebuildAction.NOTHING
    layouts = _layouts(meaning, wanted)
    if layouts is None or migrate(*layouts, layouts[0].rows(0)) is None:
        return None
    return RebuildAction.MIGRATED if SparseSerde(layouts[0].fresh).fits(large_binary(values)).all() else None


def decide(
    use: RebuildAction | None, *, rows: int, records: int, gone: int, anew: bool, from_what_is_left: bool
) -> RebuildAction:
    """Return the action for a partition with ``rows`` rows and the result ``use`` of ``usable``. Pure.

    ``anew``: rebuild in any case; ``from_what_is_left``: rebuild also if source records are gone.
    """
    if use is not None and not anew:
        return use
    if use is None and not anew and not (rows or records or gone):
        return RebuildAction.NOTHING
    return RebuildAction.REFUSED if gone and not from_what_is_left else RebuildAction.REBUILT


def _layouts(meaning: TableVersion, wanted: TableVersion) -> tuple[RowLayout, RowLayout] | None:
    if meaning.declared is None or wanted.declared is None:
        return None
    old, new = layout_from_declaration(meaning.declared), layout_from_declaration(wanted.declared)
    return None if old is None or new is None else (old, new)


def migrated(rows: dict[bytes, bytes], meaning: TableVersion, wanted: TableVersion) -> dict[bytes, bytes]:
    """Return values of ``meaning`` converted to ``wanted``; ``usable`` must allow the migration. Pure."""
    layouts = _layouts(meaning, wanted)
    assert layouts is not None
    old, new = (SparseSerde(layout.fresh) for layout in layouts)
    values = large_binary(list(rows.values()))
    found = migrate(*layouts, old.unpack(values))
    assert found is not None
    return dict(zip(rows, new.pack(found, old.source_offsets(values)).to_pylist(), strict=True))


class Rebuild:
    """Plans and runs a rebuild. ``report_progress`` receives the current step, the amount done and the total.

    ``tables`` limits it to some tables, all by default; the other options are those of ``decide``. Raises TopologyError
    for an unknown table, TopicsError if the topics do not fit, and BrokerError.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        *,
        tables: Sequence[str] = (),
        from_events: bool = False,
        from_what_is_left: bool = False,
        report_progress: Callable[[str, int, int], None],
    ) -> None:
        unknown = sorted({*tables} - {*pipeline.changelogs})
        if unknown:
            raise TopologyError(
                f"pipeline {pipeline.name!r} has no table {unknown[0]!r}; it has {', '.join(pipeline.changelogs)}"
            )
        self._settings = settings
        self._kafka = settings.kafka
        self._pipeline = pipeline
        self._tables = list(tables) or list(pipeline.changelogs)
        self._from_events = from_events
        self._from_what_is_left = from_what_is_left
        self._report_progress = report_progress
        self._lock = MigrationLock(settings.kafka, pipeline)
        if (unfinished := self._lock.unfinished(COMMAND)) is not None:  # options of an interrupted run stay in force
            self._tables = [name for name in pipeline.changelogs if name in {*self._tables, *unfinished["tables"]}]
            self._from_events |= unfinished["from_events"]
            self._from_what_is_left |= unfinished["from_what_is_left"]
        self._group = StoppedGroup(settings.kafka, pipeline)
        self._serdes, _ = row_serdes(pipeline)
        self._versions = table_versions(pipeline)
        self._table_states: dict[str, TableState] = {
            table_state.table.name: table_state for table_state in pipeline.table_states
        }
        self._believes = plausible_times(settings.state)
        self._future_ms = round(settings.state.future_hours_max * HOUR_MS)
        self._slack_ms = LATE_MS + self._future_ms
        self._growth: PartitionHistory | None = None
        self._sources: EventSources | None = None

    def plan(self) -> list[RebuildStep]:
        """Return the action for each partition. Writes nothing, and workers may run."""
        existing = self._existing_topics()
        partitions = existing[self._pipeline.events.topic]
        parts = self._usable_rows(partitions)
        self._sources = self._open_sources(existing)
        return [self._step(name, number, *parts[name, number]) for name in self._tables for number in range(partitions)]

    def run(self) -> list[RebuildStep]:
        """Rebuild the state while workers are stopped, and return the actions taken.

        Raises StateMismatch, before anything is written, if a partition cannot be rebuilt.
        """
        self._group.check()
        self._existing_topics()
        self._group.fence()
        rewriter = TopicRewriter(
            self._kafka,
            f"{self._pipeline.name}.upkeep",
            "state",
            group=self._pipeline.group,
            permit=self._group.check,
            batch_bytes=batch_bytes(self._kafka, list(self._pipeline.changelogs.values())),
        )
        try:
            requested = {"from_events": self._from_events, "from_what_is_left": self._from_what_is_left}
            self._lock.set(rewriter, COMMAND, tables=self._tables, **requested)
            steps = self.plan()  # only now, because workers could change its basis until here
            refused = [step for step in steps if step.action is RebuildAction.REFUSED]
            if refused:
                self._lock.remove()
                raise StateMismatch(
                    f"table {refused[0].table!r} cannot be migrated, and {sum(step.gone for step in refused):,} of its "
                    f"source records are deleted, the first in partition {refused[0].partition}; with "
                    "--from-what-is-left it is rebuilt from the remaining records"
                )
            for step in steps:
                if step.action is not RebuildAction.NOTHING:
                    self._apply(step, rewriter)
        finally:
            rewriter.close()
        self._lock.remove()
        return steps

    def _existing_topics(self) -> dict[str, int]:
        """Return the existing topics with their numbers of partitions, checked."""
        existing = provisioning.existing(self._kafka)
        existing.pop(self._pipeline.migration_topic, None)
        provisioning.fit(self._pipeline, existing)
        return existing

    def _usable_rows(self, partitions: int) -> dict[tuple[str, int], tuple[RebuildAction | None, int]]:
        """Return for each partition of the tables the result of ``usable`` and the number of rows."""
        found: dict[tuple[str, int], tuple[RebuildAction | None, int]] = {}
        targets = [(name, number) for name in self._pipeline.changelogs for number in range(partitions)]
        for done, (name, number) in enumerate(targets):
            self._report_progress("examining state", done, len(targets))
            current = self._read_rows(name, number)
            values = list(current.rows.values())
            found[name, number] = (
                usable(current.meaning, self._versions[name], values, self._serdes[name]),
                len(values),
            )
            self._growth = longest((self._growth, current.growth))
        self._report_progress("examining state", len(targets), len(targets))
        return found

    def _read_rows(self, name: str, number: int) -> ChangelogRows:
        source = TopicPartition(self._pipeline.changelogs[name], number)
        return ChangelogRows.read(self._kafka, source, self._group.bounds([source])[source])

    def _open_sources(self, existing: dict[str, int]) -> EventSources:
        sources = self._group.sources(existing)
        scores = [
            TopicPartition(self._pipeline.scores.topic, number)
            for number in range(existing[self._pipeline.scores.topic])
        ]
        return EventSources(
            self._kafka,
            self._pipeline,
            committed=self._group.committed(),
            bounds=self._group.bounds([*sources, *scores]),
            partitions=existing[self._pipeline.events.topic],
            growth=self._growth,
            value_bytes_max=self._settings.dead_letters.value_bytes_max,
            key_bytes_max=largest_key(self._pipeline, topic_configs.record_limits(self._kafka, self._pipeline)),
        )

    def _step(self, name: str, number: int, use: RebuildAction | None, rows: int) -> RebuildStep:
        assert self._sources is not None
        if name == PREDICTIONS:
            records, gone = self._sources.scores(number)
        else:
            records, gone = self._sources.records(
                self._pipeline.updating_events(self._table_states[name]).topic, number
            )
        action = decide(
            use,
            rows=rows,
            records=records,
            gone=gone,
            anew=self._from_events,
            from_what_is_left=self._from_what_is_left,
        )
        return RebuildStep(name, number, action, rows, records, gone)

    def _apply(self, step: RebuildStep, rewriter: TopicRewriter) -> None:
        current, topic = self._read_rows(step.table, step.partition), self._pipeline.changelogs[step.table]
        wanted = self._versions[step.table]
        if step.action is RebuildAction.MIGRATED:
            assert current.meaning is not None
            rows = migrated(current.rows, current.meaning, wanted)
        else:
            rows = self._recompute_rows(step)
        what, done = f"{step.table}, partition {step.partition}: writing", 0
        with rewriter.transaction():
            rewriter.put(topic, step.partition, TABLE_VERSION, wanted.dump())
            if self._growth is not None:
                rewriter.put(topic, step.partition, PARTITION_HISTORY, self._growth.dump())
            for key in current.rows.keys() - rows.keys():
                rewriter.put(topic, step.partition, key, None)
            for done, (key, value) in enumerate(rows.items()):
                if current.rows.get(key) != value:
                    rewriter.put(topic, step.partition, key, value)
                if done % 10_000 == 0:
                    self._report_progress(what, done, len(rows))
        self._report_progress(what, len(rows), len(rows))

    def _recompute_rows(self, step: RebuildStep) -> dict[bytes, bytes]:
        assert self._sources is not None
        read = 0

        def count_read(records: int) -> None:
            nonlocal read
            read += records
            self._report_progress(f"{step.table}, partition {step.partition}: reading", read, step.records)

        serde = self._serdes[step.table]
        if step.table == PREDICTIONS:
            scores = self._sources.score_batches(step.partition, count_read)
            return last_scores(serde, scores, predictions_ms(self._pipeline), self._slack_ms, self._future_ms)
        table_state = self._table_states[step.table]
        feed = self._pipeline.updating_events(table_state)
        events = self._sources.events(feed, step.partition, count_read)
        return feature_rows(table_state, serde, feed.time, events, self._believes, self._slack_ms)
