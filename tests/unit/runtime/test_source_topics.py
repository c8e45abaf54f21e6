"""Topics that were created again, and workers with other tables: told by what committed offsets say of their owners."""

from collections.abc import Callable, Mapping
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from surgetank.errors import BrokerError, OffsetsError, StateMismatch
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.offset_owner import OffsetOwner
from surgetank.records import TopicPartition
from surgetank.runtime.source_topics import SourceTopics
from surgetank.runtime.table_check import check_tables

MINE = {"planes": "a", "airports": "b"}


def test_only_a_topic_that_could_not_be_read_is_looked_up() -> None:
    """A failed look-up is repeated; another id is an error with the topic's name."""
    ids, asked = {"events": "1", "facts": "2"}, list[list[str]]()
    broken = True

    def look_up(topics: list[str]) -> Mapping[str, str]:
        asked.append(topics)
        if broken:
            raise BrokerError("no answer")
        return ids

    topics = SourceTopics(dict(ids), look_up)
    topics.check()
    assert not asked
    topics.doubt()
    with pytest.raises(BrokerError):
        topics.check()
    broken = False
    topics.check()
    topics.check()
    assert len(asked) == 2
    ids["facts"] = "3"
    topics.doubt()
    with pytest.raises(OffsetsError, match="'facts' was deleted and created again"):
        topics.check()


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (None, False),
        (OffsetOwner("w"), False),
        (OffsetOwner("w", "", "1"), False),
        (OffsetOwner("w", "", "0"), True),
    ],
)
def test_an_offset_tells_the_topic_that_it_counts(owner: OffsetOwner | None, expected: bool) -> None:
    """Those of older workers and of others do not."""
    assert SourceTopics({"events": "1"}, lambda _: {}).recreated("events", owner) is expected


@pytest.mark.parametrize(("before", "after"), [("", "1"), ("1", ""), ("", "")])
def test_brokers_without_topic_ids(before: str, after: str) -> None:
    """An id that is not known is no other topic, also while the brokers are upgraded."""
    topics = SourceTopics({"events": before}, lambda _: {"events": after})
    topics.doubt()
    topics.check()
    assert not SourceTopics({"events": before}, lambda _: {}).recreated("events", OffsetOwner("w", "", after))


class OneGroup:
    """A group with the offsets of some owners and some live members."""

    group_id = "flights"

    def __init__(self, owners: list[OffsetOwner | None], live: set[str], *, answers: bool = True) -> None:
        self.owners = owners
        self._live = live
        self._answers = answers

    def partitions(self, topic: str, timeout: float) -> int:
        """Return one partition for each owner."""
        if not self._answers:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return len(self.owners)

    def offset_owners(self, sources: list[TopicPartition], timeout: float) -> dict[TopicPartition, OffsetOwner | None]:
        """Return the owner of each partition."""
        return dict(zip(sources, self.owners, strict=True))

    def live(self, timeout: float) -> set[str]:
        """Return the client ids of the members."""
        return self._live


def check(group: OneGroup, tables: Mapping[str, str], pause: Callable[[float], object] = lambda _: None) -> None:
    """Check a worker named ``me``."""
    check_tables(cast("GroupClient", group), "events", tables, identity="me", pause=pause)


OTHER = OffsetOwner("other", "", "1", {"planes": "changed", "airports": "b", "new": "c"})
SAME = OffsetOwner("same", "", "1", MINE | {"new": "c"})


def test_a_live_worker_with_another_table_is_named() -> None:
    """The table too; the partitions of others, and offsets without an owner, are no reason."""
    with pytest.raises(StateMismatch, match="worker other runs and declares 'planes' otherwise"):
        check(OneGroup([SAME, OTHER, None], {"same", "other"}), MINE)


def test_a_live_worker_whose_partitions_all_have_another_table_is_named() -> None:
    """Also if it owns several."""
    with pytest.raises(StateMismatch, match="worker other runs and declares 'planes' otherwise"):
        check(OneGroup([OTHER, OTHER], {"other"}), MINE)


@pytest.mark.parametrize(
    ("group", "tables"),
    [
        (OneGroup([OTHER], {"same"}), MINE),  # it has left: its state can be rebuilt
        (OneGroup([SAME, None, OffsetOwner("old")], {"same", "old"}), MINE),
        (OneGroup([OTHER], {"other"}), {}),
        (OneGroup([OffsetOwner("me", "", "1", OTHER.tables)], {"me"}), MINE),  # this worker before its restart
        (OneGroup([OTHER], {"other"}, answers=False), MINE),
        (OneGroup([SAME, OffsetOwner("same", "", "1", OTHER.tables)], {"same"}), MINE),  # the latter is from before
    ],
)
def test_all_other_groups_are_joined(group: OneGroup, tables: Mapping[str, str]) -> None:
    """Also if Kafka does not answer: a restore refuses other rows later."""
    check(group, tables)


def test_workers_start_together_after_their_state_is_rebuilt() -> None:
    """One that has just joined claims its partitions within seconds; until then its offsets name the former tables."""
    group = OneGroup([OffsetOwner("other", "", "1", OTHER.tables)], {"other"})
    pauses: list[float] = []

    def claim(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 5:
            group.owners = [OffsetOwner("other", "", "1", MINE)]

    check(group, MINE, claim)
    assert len(pauses) == 5

    group.owners, pauses = [OTHER], [0.0] * 5
    with pytest.raises(StateMismatch, match="worker other runs"):
        check(group, MINE, claim)
    assert sum(pauses) < 30, "it is not waited for without end"
