"""The exporter's page from what a surveyor says: bounds, failures, groups that cannot be told."""

import threading

import pytest

from surgetank.errors import BrokerError
from surgetank.kafka.offset_collector import CollectedOffsets, GroupDescription, OffsetQuery
from surgetank.lag.exporter import Exporter
from surgetank.lag.rules import LagStatus
from surgetank.records import TopicPartition
from surgetank.settings import ExporterSettings
from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.health import Health
from tests.unit.lag.clocks import SetClock


class Kafka:
    """Answers a surveyor's questions with what the test sets; with None it does not answer."""

    def __init__(self, **settings: object) -> None:
        self.clock = SetClock()
        self.metrics = GroupMetrics()
        self.health = Health(self.clock, conditions=("kafka",))
        self.groups: dict[str, dict[TopicPartition, int | None]] | None = {}
        self.ends: dict[TopicPartition, int] = {}
        self.unknown: tuple[str, ...] = ()
        self.members = True
        self.asked: list[OffsetQuery] = []
        self.stopping: threading.Event | None = None
        chosen = ExporterSettings.model_validate(settings)
        self.exporter = Exporter(chosen, self, self.metrics, self.health, self.clock)

    def ask(self, question: OffsetQuery, timeout: float) -> CollectedOffsets:
        """Answer as the real one does."""
        self.asked.append(question)
        if self.stopping is not None and len(self.asked) == 3:
            self.stopping.set()
        if self.groups is None:
            raise BrokerError("nobody answers")
        answers = {name: GroupDescription(self.members, committed) for name, committed in self.groups.items()}
        bounds = {source: (0, end) for source, end in self.ends.items()}
        return CollectedOffsets(answers, bounds, {}, self.unknown, 7, 0.0)

    def look(self, after: float = 10.0) -> bool:
        """Let time pass, then look."""
        self.clock.at += after
        return self.exporter.measure()

    def series(self) -> set[str]:
        """Return the names of the series of groups on the page."""
        lines = self.metrics.expose()[0].decode().splitlines()
        return {line.partition("{")[0] for line in lines if line.startswith("surgetank_group")}


ORDERS = TopicPartition("orders", 0)


def test_a_pass_without_an_answer_leaves_no_figures() -> None:
    """Unknown is not zero; the pass is counted, and readiness says why."""
    kafka = Kafka()
    kafka.groups, kafka.ends = {"billing": {ORDERS: 5}}, {ORDERS: 9}
    assert kafka.look()
    assert "surgetank_group_lag_records" in kafka.series()
    kafka.groups = None
    assert not kafka.look()
    assert kafka.series() == set()
    assert kafka.metrics.exporter_up.value() == 0
    assert kafka.metrics.exporter_passes_failed.value() == 1
    assert kafka.metrics.exporter_pass_seconds.count() == 2
    assert kafka.health.ready()[1]["failing"][0]["why"] == "nobody answers"


def test_before_the_first_pass_it_is_not_up() -> None:
    """A scrape that comes too early is told 0, not nothing."""
    assert b"surgetank_exporter_up 0.0" in Kafka().metrics.expose()[0]


def test_a_group_that_stands_still_stalls_or_stops() -> None:
    """With members it stalls, without it stops, and the worst partition is the group's status."""
    for members, expected in ((True, LagStatus.STALL), (False, LagStatus.STOP)):
        kafka = Kafka()
        kafka.members = members
        kafka.groups = {"billing": {ORDERS: 5, TopicPartition("orders", 1): 3}}
        kafka.ends = {ORDERS: 9, TopicPartition("orders", 1): 3}
        for _ in range(5):
            kafka.look()
        assert kafka.metrics.group_lag_status.value(group="billing", topic="orders", partition=0) is not None
        assert kafka.metrics.group_lag_status.value(group="billing", topic="orders", partition=0) == expected
        assert kafka.metrics.group_lag_status.value(group="billing", topic="orders", partition=1) == LagStatus.OK
        assert kafka.metrics.group_status.value(group="billing") == expected


def test_what_is_known_after_an_outage_is_compared_with_what_was_before() -> None:
    """An outage of some minutes is no reason to forget; a stall that began before it goes on."""
    kafka = Kafka()
    kafka.groups, kafka.ends = {"billing": {ORDERS: 5}}, {ORDERS: 9}
    kafka.look()
    kafka.groups = None
    for _ in range(20):
        kafka.look()
    kafka.groups = {"billing": {ORDERS: 5}}
    kafka.look()
    assert kafka.metrics.group_status.value(group="billing") == LagStatus.STALL


def test_groups_that_the_page_has_no_room_for_are_counted() -> None:
    """In the order of their names; the others are told as ever."""
    kafka = Kafka(partitions_max=4)
    both = [TopicPartition("orders", number) for number in (0, 1)]
    kafka.ends = dict.fromkeys(both, 9)
    kafka.groups = {f"group-{number}": dict.fromkeys(both, 5) for number in range(5)}
    kafka.look()
    assert kafka.metrics.exporter_groups.value() == 2
    assert kafka.metrics.exporter_groups_left_out.value() == 3
    assert kafka.metrics.group_status.value(group="group-1") == LagStatus.OK
    assert kafka.metrics.group_status.value(group="group-2") is None


def test_more_groups_than_a_label_has_room_for_are_left_out_and_counted() -> None:
    """Names made of keys fill a label up to its bound; the exporter goes on and says how many it left out."""
    kafka = Kafka(partitions_max=1_000_000)
    kafka.ends = {ORDERS: 9}
    kafka.groups = {f"console-consumer-{number}": {ORDERS: 5} for number in range(12_000)}
    assert kafka.look()
    assert kafka.metrics.exporter_groups.value() == 10_000
    assert kafka.metrics.exporter_groups_left_out.value() == 2_000


def test_a_name_that_cannot_be_a_label_is_left_out() -> None:
    """Kafka takes any text as the name of a group."""
    kafka = Kafka()
    kafka.ends = {ORDERS: 9}
    kafka.groups = {"two\nlines": {ORDERS: 5}, 'quo"ted\\': {ORDERS: 5}}
    kafka.look()
    assert kafka.metrics.exporter_groups_left_out.value() == 1
    assert b'group="quo\\"ted\\\\"' in kafka.metrics.expose()[0]


def test_groups_that_kafka_did_not_tell_of_are_absent_and_counted() -> None:
    """A coordinator that fails costs its own groups their series, nobody else."""
    kafka = Kafka()
    kafka.groups, kafka.ends, kafka.unknown = {"billing": {ORDERS: 5}}, {ORDERS: 9}, ("shipping",)
    kafka.look()
    assert kafka.metrics.exporter_up.value() == 1
    assert kafka.metrics.exporter_groups_unknown.value() == 1
    assert kafka.metrics.group_status.value(group="shipping") is None


@pytest.mark.parametrize("answers", [True, False])
def test_it_runs_until_it_is_told_to_stop(answers: bool) -> None:
    """Pass after pass, also while Kafka is away; an interrupted pass counts for nothing."""
    kafka = Kafka(interval_seconds=0.5)
    kafka.groups = {} if answers else None
    kafka.stopping = threading.Event()
    kafka.exporter.run(kafka.stopping)
    assert len(kafka.asked) == 3
    assert kafka.metrics.exporter_passes_failed.value() == (0 if answers else 2)
    assert kafka.health.live()[0]
