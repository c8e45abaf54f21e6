"""surgetank.migration.rebuild and reshard: what is done to a partition, and how many partitions there will be."""

from dataclasses import replace

import numpy as np
import pytest

from surgetank.errors import TopicsError
from surgetank.features.aggregate_kinds import AggregateKind
from surgetank.features.row_layout import AggregateSpec, RingWindow, RowLayout
from surgetank.kafka import provisioning
from surgetank.migration.partition_history import PartitionHistory
from surgetank.migration.rebuild import RebuildAction, decide, migrated, usable
from surgetank.migration.reshard import ReshardStep, target
from surgetank.records import large_binary
from surgetank.state.changelog import TableVersion
from surgetank.state.sparse_serde import SparseSerde
from topology.flights import flights

HOUR = RingWindow(3_600_000)
WIDE = RowLayout((AggregateSpec(AggregateKind.COUNT, None, HOUR), AggregateSpec(AggregateKind.SUM, "a", HOUR)))
NARROW = RowLayout((AggregateSpec(AggregateKind.COUNT, None, HOUR),))
OTHER = RowLayout((AggregateSpec(AggregateKind.COUNT, None, RingWindow(7_200_000)),))


def meaning(layout: RowLayout) -> TableVersion:
    """Return what a changelog says of rows of a layout."""
    return TableVersion(layout.fingerprint(), layout.declaration())


def kept(layout: RowLayout) -> list[bytes]:
    """Return the values of two rows of a layout in which every cell is filled."""
    rows = layout.rows(2)
    rows[:] = 1.5
    values: list[bytes] = SparseSerde(layout.fresh).pack(rows, 3).to_pylist()
    return values


def decided(
    old: TableVersion | None,
    new: RowLayout,
    values: list[bytes],
    *,
    records: int = 9,
    gone: int = 0,
    anew: bool = False,
    from_what_is_left: bool = False,
) -> RebuildAction:
    """Decide for values of ``old`` that shall be of ``new``."""
    use = usable(old, meaning(new), values, SparseSerde(new.fresh))
    return decide(use, rows=len(values), records=records, gone=gone, anew=anew, from_what_is_left=from_what_is_left)


def test_rows_of_what_is_declared_are_left_alone() -> None:
    """Unless all shall be worked out anew, or one of them is none."""
    assert decided(meaning(WIDE), WIDE, kept(WIDE)) is RebuildAction.NOTHING
    assert decided(TableVersion(WIDE.fingerprint()), WIDE, kept(WIDE), gone=5) is RebuildAction.NOTHING
    assert decided(meaning(WIDE), WIDE, kept(WIDE), anew=True) is RebuildAction.REBUILT
    assert decided(meaning(WIDE), WIDE, [*kept(WIDE), b"abc"]) is RebuildAction.REBUILT


def test_rows_that_hold_enough_are_migrated() -> None:
    """The same windows and values, or fewer; also where events are gone, and where no row is left."""
    assert decided(meaning(WIDE), NARROW, kept(WIDE), gone=5) is RebuildAction.MIGRATED
    assert decided(meaning(WIDE), NARROW, []) is RebuildAction.MIGRATED
    assert decided(meaning(WIDE), NARROW, kept(WIDE), anew=True) is RebuildAction.REBUILT


@pytest.mark.parametrize(
    "old", [meaning(NARROW), meaning(OTHER), TableVersion("0123abcd"), TableVersion("x", {"v": 2}), None]
)
def test_rows_that_do_not_are_rebuilt(old: TableVersion | None) -> None:
    """Another window, more statistics, or a meaning that nobody can read; where events are gone, only if wanted so."""
    values = kept(NARROW)
    assert decided(old, WIDE, values) is RebuildAction.REBUILT
    assert decided(old, WIDE, values, gone=1) is RebuildAction.REFUSED
    assert decided(old, WIDE, values, gone=1, from_what_is_left=True) is RebuildAction.REBUILT


def test_a_table_that_never_was_is_filled_if_there_is_something() -> None:
    """One that is new to an old pipeline gets what its events make; without events there is nothing to do."""
    assert decided(None, WIDE, []) is RebuildAction.REBUILT
    assert decided(None, WIDE, [], records=0) is RebuildAction.NOTHING


def test_migrated_values_keep_their_source_offsets() -> None:
    """Each key keeps its row, in the new shape."""
    rows = WIDE.rows(2)
    rows[:, 1:] = np.arange(2.0).reshape(2, 1)
    old, new = SparseSerde(WIDE.fresh), SparseSerde(NARROW.fresh)
    values = dict(zip([b"a", b"b"], old.pack(rows, np.array([5, 6])).to_pylist(), strict=True))

    found = migrated(values, meaning(WIDE), meaning(NARROW))

    assert list(found) == [b"a", b"b"]
    assert new.source_offsets(large_binary(list(found.values()))).tolist() == [5, 6]
    np.testing.assert_array_equal(new.unpack(large_binary(list(found.values())))[:, 1], [0, 1])


THERE = {spec.name: spec.partitions for spec in provisioning.needed(flights)}
READ, KEPT = flights.sources, list(flights.changelogs.values())


def test_the_number_follows_the_events_or_the_declaration() -> None:
    """Events that somebody gave more say how many; else what is declared; else somebody must."""
    more = replace(flights, events=replace(flights.events, partitions=8))
    assert target(flights, THERE | dict.fromkeys(READ, 16), None) == (8, 16)
    assert target(flights, THERE, 12) == (8, 12)
    assert target(more, THERE | dict.fromkeys((*READ, *KEPT), 4), None) == (4, 8)
    assert target(flights, THERE | dict.fromkeys((*READ, KEPT[0]), 12), 12) == (8, 12), "cut short"
    with pytest.raises(TopicsError, match=r"already has 8 partitions.*--partitions"):
        target(flights, THERE, None)


def test_what_kafka_cannot_do_is_refused_with_the_way_out() -> None:
    """Partitions are never taken away; and events that lie by another number must be worked off before."""
    with pytest.raises(TopicsError, match=r"cannot remove partitions.*new pipeline"):
        target(flights, THERE, 4)
    with pytest.raises(TopicsError, match=r"reshard to 12 first"):
        target(flights, THERE | dict.fromkeys(READ, 12), 16)
    with pytest.raises(TopicsError, match=r"topics apply flights"):
        target(flights, {name: number for name, number in THERE.items() if name != KEPT[0]}, None)


def test_keys_go_where_their_producer_sends_them() -> None:
    """Those that stay are left out; the plan comes back from its record."""
    move = ReshardStep(4, 8, PartitionHistory("murmur2", ()))
    keys = [b"%d" % number for number in range(200) if move.growth.home(b"%d" % number, 4) == 3]

    away = move.misplaced(keys, 3)

    assert set(away) == {7}
    assert {move.growth.home(key, 8) for key in set(keys) - set(away[7])} == {3}
    assert ReshardStep.of(move.as_dict()) == move


def test_topics_of_different_numbers_are_refused_with_the_command() -> None:
    """Workers do not start beside more events than state, but to drain; nor while upkeep is under way."""
    grown = THERE | dict.fromkeys(READ, 16) | {flights.scores.topic: 16, flights.dead_letters: 16}
    with pytest.raises(TopicsError, match=r"8 partitions, but .* has 16(.|\n)*surgetank state reshard flights"):
        provisioning.fit(flights, grown)
    provisioning.fit(flights, grown, drain=True)
    with pytest.raises(TopicsError, match=r"flights.upkeep' is there(.|\n)*it goes on$"):
        provisioning.fit(flights, THERE | {flights.migration_topic: 1}, drain=True)
    with pytest.raises(TopicsError, match=r"it goes on(.|\n)* 8 partitions, but .* has 16") as told:
        provisioning.fit(flights, grown | {flights.migration_topic: 1})
    assert "by hand" not in str(told.value), "numbers that differ are those of a reshard that was cut short"
