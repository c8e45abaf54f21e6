"""The table and the JSON of a group."""

import io
import json
import math

import pytest
from rich.console import Console

from surgetank.kafka.offset_collector import CollectedOffsets, GroupDescription, OffsetQuery
from surgetank.kafka.oldest_records import OldestRecord, ReadPosition
from surgetank.lag.group_monitor import GroupMonitor, GroupSnapshot
from surgetank.lag.rules import LagStatus
from surgetank.lag.sparkline import sparkline
from surgetank.lag.table import as_dict, seconds_text, table
from surgetank.records import ModelVersion, TopicPartition
from tests.unit.lag.clocks import SetClock

ORDERS = [TopicPartition("orders", number) for number in range(3)]


class Cluster:
    """A Kafka with one group; the test sets its offsets."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.ends = dict.fromkeys(ORDERS, 100)
        self.committed: dict[TopicPartition, int | None] = {ORDERS[0]: 100, ORDERS[1]: 60, ORDERS[2]: None}
        self.heads: dict[ReadPosition, OldestRecord] = {}
        self.high_watermarks: dict[TopicPartition, int] = {}
        self.members = True
        self.owner = "worker-1"
        self.models: dict[TopicPartition, ModelVersion] = {}
        self.monitor = GroupMonitor(OffsetQuery(group="[billing]", topics=("orders",)), self.survey, self.clock)

    def survey(self, query: OffsetQuery) -> CollectedOffsets:
        """Return the offsets that the test set."""
        owners = {ORDERS[0]: self.owner} | dict.fromkeys(self.models, "worker-2")
        answer = GroupDescription(self.members, dict(self.committed), owners, dict(self.models))
        bounds = {source: (0, end) for source, end in self.ends.items()}
        return CollectedOffsets({"[billing]": answer}, bounds, self.heads, (), 9, 0.5, self.high_watermarks)

    def poll(self) -> GroupSnapshot:
        """Advance the clock by two seconds and poll once."""
        self.clock.at += 2
        return self.monitor.poll()


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster with one group."""
    return Cluster()


def shown(snapshot: GroupSnapshot, rows_max: int = 100, width: int = 220) -> str:
    """Return the table as text, in a terminal of this width."""
    console = Console(file=io.StringIO(), width=width)
    console.print(table(snapshot, rows_max, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_marks_unknown_values(cluster: Cluster) -> None:
    """After one poll rates and the age of unread records are unknown; names are not interpreted as markup."""
    text = shown(cluster.poll())
    assert "group [billing]: ?" in text
    (row,) = [line for line in text.splitlines() if "orders[1]" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:4] == ["orders[1]", "100", "60", "40"]
    assert row.count("?") == 6  # behind, known by, both rates, drain, status
    assert "never" in next(line for line in text.splitlines() if "orders[2]" in line)
    assert "worker-1" in text
    assert "nobody" in text


@pytest.mark.parametrize("owner", ["app[/x]", "consumer-[prod]-1"])
def test_names_of_owners_are_shown_as_they_are(cluster: Cluster, owner: str) -> None:
    """Client ids of other applications are free text, which may look like markup."""
    cluster.owner = owner
    assert owner in shown(cluster.poll())


def test_the_table_shows_the_lag_over_time(cluster: Cluster) -> None:
    """Rates, drain time and a sparkline of the last minutes."""
    cluster.poll()
    cluster.heads[ReadPosition(ORDERS[1], 80)] = OldestRecord(cluster.clock.ms(ago=33), empty=False)
    cluster.committed[ORDERS[1]] = 80
    cluster.ends[ORDERS[1]] = 110
    row = next(line for line in shown(cluster.poll()).splitlines() if "orders[1]" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:4] == ["110", "80", "30"]
    assert cells[4].endswith("█")
    assert cells[5:10] == ["34 s", "record", "5.0", "10", "6.0 s"]


def test_a_small_table_shows_the_worst_partitions(cluster: Cluster) -> None:
    """Partitions with the largest lag, in topic order, and the number of all partitions."""
    text = shown(cluster.poll(), rows_max=2)
    assert "orders[0]" not in text
    assert text.index("orders[1]") < text.index("orders[2]")
    assert "the worst 2 of 3 partitions" in text


@pytest.mark.parametrize("width", [50, 80, 100, 130, 160])
def test_a_narrow_terminal(cluster: Cluster, width: int) -> None:
    """Columns that do not fit are left out whole and named; a number is never cut, the lag is always shown."""
    cluster.committed[ORDERS[1]], cluster.ends[ORDERS[1]] = 1_000, 123_456_789
    text = shown(cluster.poll(), width=width)
    assert max(map(len, text.splitlines())) <= width
    titles, row = (next(line for line in text.splitlines() if word in line) for word in ("behind", "orders[1]"))
    assert "123,455,789" in row
    assert all(title in titles for title in ("partition", "lag", "status"))
    assert "…" not in text
    left_out = " ".join(text.replace("\n", " ").partition("--json: ")[2].split())
    assert ("owner" in titles) is ("owner" not in left_out)
    assert ("123,456,789" in row) is ("log end" not in left_out)


def test_all_workers_are_dead_while_events_wait(cluster: Cluster) -> None:
    """One look cannot know whether somebody works: the status is not OK but unknown, and STOP after half a minute."""
    cluster.members = False
    first = cluster.poll()
    assert first.status is None
    assert as_dict(first)["status"] is as_dict(first)["partitions"][1]["status"] is None
    assert "group [billing]: ?, no members" in shown(first)
    assert "OK" in next(line for line in shown(first).splitlines() if "orders[0]" in line)  # without lag it is known
    cluster.clock.at += 30
    assert cluster.poll().status is LagStatus.STOP


def test_progress_is_seen_with_the_second_look(cluster: Cluster) -> None:
    """With lag, OK is told of a partition whose committed offset advanced."""
    cluster.poll()
    cluster.committed |= {ORDERS[1]: 70, ORDERS[2]: 10}
    assert cluster.poll().status is LagStatus.OK


def test_records_behind_an_open_transaction_are_shown_beside_the_lag(cluster: Cluster) -> None:
    """As a column that is there only then, and in the JSON; with the time from the second look on."""
    assert "open transaction" not in shown(cluster.poll(), width=80)
    cluster.high_watermarks = dict(cluster.ends) | {ORDERS[0]: 112}
    cluster.poll()
    snapshot = cluster.poll()
    text = shown(snapshot, width=80)
    assert "open transaction" in text
    assert " 12 " in next(line for line in text.splitlines() if "orders[0]" in line)
    found = as_dict(snapshot)
    assert (found["lag"], found["open_transaction_records"]) == (140, 12)
    (first, *others) = found["partitions"]
    assert (first["open_transaction_records"], first["open_transaction_seconds"]) == (12, 2.0)
    assert {each["open_transaction_records"] for each in others} == {0}


def test_workers_serve_different_versions_of_a_model(cluster: Cluster) -> None:
    """Each partition has the model of its owner, if known; a narrow table has all models below it."""
    assert "model" not in shown(cluster.poll())
    cluster.models = {ORDERS[1]: ModelVersion("late", "1"), ORDERS[2]: ModelVersion("[late]", "2")}

    text = shown(cluster.poll())
    rows = [next(line for line in text.splitlines() if str(source) in line) for source in ORDERS]
    assert [row.strip("│").split("│")[-1].strip() for row in rows] == ["?", "late 1", "[late] 2"]
    narrow = shown(cluster.poll(), width=80)
    assert "several models: [late] 2 on 1, late 1 on 1" in " ".join(narrow.split())
    found = [(each["model"], each["model_version"]) for each in as_dict(cluster.poll())["partitions"]]
    assert found == [(None, None), ("late", "1"), ("[late]", "2")]

    cluster.models = {ORDERS[1]: ModelVersion("late", "1")}
    text = shown(cluster.poll())
    assert "model late 1" in text
    (row,) = [line for line in text.splitlines() if "orders[2]" in line]
    assert row.strip("│").split("│")[-1].strip() == ""  # nobody owns it


def test_json_has_null_for_unknown_values(cluster: Cluster) -> None:
    """And for an infinite drain time, because JSON has no infinity."""
    first = as_dict(cluster.poll())
    second = as_dict(cluster.poll())
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert first["partitions"][1]["lag_seconds"] is first["partitions"][1]["grows"] is None
    assert second["partitions"][1]["drain_seconds"] is None
    assert second["partitions"][1]["grows"] is True
    assert second["partitions"][0]["grows"] is False
    assert second["lag"] == 140


def test_a_partition_without_leader_is_left_out(cluster: Cluster) -> None:
    """Its offsets are unknown."""
    del cluster.ends[ORDERS[1]]
    assert [partition.offsets.source for partition in cluster.poll().partitions] == [ORDERS[0], ORDERS[2]]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], "    "),
        ([(0.0, 0.0)], "   ▁"),
        ([(35.0, 0.0), (25.0, 50.0), (15.0, 100.0), (5.0, 25.0)], "▁▅█▃"),
        ([(35.0, 10.0), (31.0, 80.0), (5.0, 80.0)], "█  █"),  # the largest value; a space without a point
        ([(41.0, 10.0), (1.0, 5.0)], "   █"),
    ],
)
def test_a_sparkline_shows_the_course_of_a_value(points: list[tuple[float, float]], expected: str) -> None:
    """Four characters for forty seconds."""
    assert sparkline(points, 40.0, 4) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "?"),
        (math.inf, "never"),
        (0.0, "0 s"),
        (0.44, "0.4 s"),
        (35.4, "35 s"),
        (75.0, "75 s"),
        (754.0, "13 min"),
        (12_600.0, "3.5 h"),
        (200_000.0, "2.3 d"),
    ],
)
def test_seconds_have_a_readable_unit(seconds: float | None, expected: str) -> None:
    """Seconds, minutes, hours or days."""
    assert seconds_text(seconds) == expected
