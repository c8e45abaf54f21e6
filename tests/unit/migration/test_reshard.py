"""surgetank.migration.reshard: what is refused before anything moves, and whether workers can do something about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from surgetank.errors import TopicsError
from surgetank.kafka import provisioning
from surgetank.migration.changelog_rows import ChangelogRows
from surgetank.migration.partition_history import PartitionEra, PartitionHistory
from surgetank.migration.reshard import Reshard, ReshardStep, target
from surgetank.records import TopicPartition
from surgetank.settings import KafkaSettings
from surgetank.state.changelog import TableVersion
from topology.flights import flights

OLD, NEW = 8, 16
THERE = {spec.name: spec.partitions for spec in provisioning.needed(flights)}
MOVE = ReshardStep(
    OLD, NEW, PartitionHistory("murmur2", (PartitionEra(OLD, dict.fromkeys(flights.sources, (0,) * OLD)),))
)


@dataclass
class World:
    """Brokers, mark and standstill of a pipeline of which ``left`` records lie unprocessed in each partition."""

    left: int = 0
    begun: dict[str, Any] | None = None
    marked: bool = True
    there: dict[str, int] = field(default_factory=lambda: dict(THERE))
    meanings: dict[int, TableVersion] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)

    def check(self) -> None:
        """No worker runs."""

    def shared_with(self, topics: Sequence[str], existing: dict[str, int]) -> dict[str, list[str]]:
        """Return the other pipelines that read one of the topics."""
        return {topic: self.others[topic] for topic in topics if topic in self.others}

    def fence(self) -> None:
        """Nobody left anything open."""

    def committed(self) -> dict[TopicPartition, int]:
        """Return the start of each partition."""
        return {TopicPartition(topic, number): 0 for topic in flights.sources for number in range(self.there[topic])}

    def bounds(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the start and the end of each partition."""
        return dict.fromkeys(sources, (0, self.left))

    def remove(self) -> None:
        """Take the mark away."""
        self.marked = False

    def part(self, _kafka: KafkaSettings, source: TopicPartition, _bounds: tuple[int, int]) -> ChangelogRows:
        """Return a partition of a changelog, without rows."""
        return ChangelogRows({}, self.meanings.get(source.partition), None)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return what a reshard of this test finds."""
    found = World()
    monkeypatch.setattr("surgetank.migration.reshard.StoppedGroup", lambda *_: found)
    monkeypatch.setattr("surgetank.migration.reshard.MigrationLock", lambda *_: Marked(found))
    monkeypatch.setattr(ChangelogRows, "read", found.part)
    monkeypatch.setattr(provisioning, "existing", lambda _: found.there)
    return found


@dataclass
class Marked:
    """The mark of a world."""

    world: World

    def unfinished(self, _command: str) -> dict[str, Any] | None:
        """Return the unfinished migration."""
        return self.world.begun

    def remove(self) -> None:
        """Take it away."""
        self.world.remove()


def run(*, dry_run: bool = False) -> None:
    """Run it, to the new number."""
    Reshard(KafkaSettings(), flights, lambda *_: None).run(NEW, "murmur2", dry_run=dry_run)


@pytest.mark.parametrize("dry_run", [True, False])
def test_workers_may_start_where_they_must_before_a_reshard_goes_on(world: World, *, dry_run: bool) -> None:
    """One was killed when the events had grown, and then something came: beside its mark nobody could process that."""
    world.begun = {"move": MOVE.as_dict()}
    world.there |= dict.fromkeys(flights.sources, NEW)
    world.left = 1

    with pytest.raises(TopicsError, match=r"not processed.*state.drain=true"):
        run(dry_run=dry_run)

    assert world.marked is dry_run


def test_a_reshard_of_one_of_two_pipelines_on_a_topic(world: World) -> None:
    """Refused before anything changes, with the other's name; topics that have grown already are no reason."""
    world.others = {flights.events.topic: ["fares"]}
    for dry_run in (True, False):
        with pytest.raises(TopicsError, match=r"'flights.boarding' is also read by fares.*state\.drain=true"):
            run(dry_run=dry_run)
    world.there |= dict.fromkeys(flights.sources, NEW)
    run(dry_run=True)


def test_rows_of_different_declarations_are_not_mixed(world: World) -> None:
    """A worker that wrote rows of a new declaration, and ended for those of the old one, left both kinds."""
    world.meanings = {0: TableVersion("old"), 3: TableVersion("new")}

    with pytest.raises(TopicsError, match=r"different declarations.*state rebuild flights"):
        run(dry_run=True)


def test_a_pipeline_that_remembers_nothing_is_told_so() -> None:
    """There is no state that could move."""
    without = replace(flights, features=tuple(each for each in flights.features if not hasattr(each, "table")))
    with pytest.raises(TopicsError, match="has no state"):
        target(replace(without, predictions=False), THERE, 16)
