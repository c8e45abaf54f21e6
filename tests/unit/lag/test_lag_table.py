"""What people and scripts are shown of a group."""

import io
import json
import math

import pytest
from rich.console import Console

from pipeline.kafka.offset_collector import CollectedOffsets, GroupDescription, OffsetQuery
from pipeline.kafka.oldest_records import OldestRecord, ReadPosition
from pipeline.lag.group_monitor import GroupMonitor, GroupSnapshot
from pipeline.lag.sparkline import sparkline
from pipeline.lag.table import plain, seconds_text, table
from pipeline.records import TopicPartition
from tests.unit.lag.clocks import SetClock

ORDERS = [TopicPartition("orders", number) for number in range(3)]


class Cluster:
    """A Kafka of one group, as a surveyor tells it; a test moves its offsets."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.ends = dict.fromkeys(ORDERS, 100)
        self.committed: dict[TopicPartition, int | None] = {ORDERS[0]: 100, ORDERS[1]: 60, ORDERS[2]: None}
        self.heads: dict[ReadPosition, OldestRecord] = {}
        self.watching = GroupMonitor(OffsetQuery(group="[billing]", topics=("orders",)), self.survey, self.clock)

    def survey(self, question: OffsetQuery) -> CollectedOffsets:
        """Answer as Kafka does."""
        owners = {ORDERS[0]: "worker-1"}
        answer = GroupDescription(True, dict(self.committed), owners)
        bounds = {source: (0, end) for source, end in self.ends.items()}
        return CollectedOffsets({"[billing]": answer}, bounds, self.heads, (), 9, 0.5)

    def look(self) -> GroupSnapshot:
        """Look once, two seconds after the last time."""
        self.clock.at += 2
        return self.watching.look()


@pytest.fixture
def cluster() -> Cluster:
    """Return such a Kafka."""
    return Cluster()


def shown(look: GroupSnapshot, rows_max: int = 100) -> str:
    """Return the table as text."""
    console = Console(file=io.StringIO(), width=220)
    console.print(table(look, rows_max))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_what_is_known_and_what_is_not(cluster: Cluster) -> None:
    """After one look neither rates nor the age of what was not read; names are not taken for markup."""
    text = shown(cluster.look())
    assert "group [billing]: OK" in text
    (row,) = [line for line in text.splitlines() if "orders[1]" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")][:4] == ["orders[1]", "100", "60", "40"]
    assert row.count("?") == 5  # behind, known by, both rates, drain
    assert "never" in next(line for line in text.splitlines() if "orders[2]" in line)
    assert "worker-1" in text
    assert "nobody" in text


def test_the_table_follows_the_lag(cluster: Cluster) -> None:
    """Rates, drain and a line of the last minutes."""
    cluster.look()
    cluster.heads[ReadPosition(ORDERS[1], 80)] = OldestRecord(cluster.clock.ms(ago=33), empty=False)
    cluster.committed[ORDERS[1]] = 80
    cluster.ends[ORDERS[1]] = 110
    row = next(line for line in shown(cluster.look()).splitlines() if "orders[1]" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:4] == ["110", "80", "30"]
    assert cells[4].endswith("█")
    assert cells[5:10] == ["34 s", "record", "5.0", "10", "6.0 s"]


def test_with_little_room_the_worst_are_shown(cluster: Cluster) -> None:
    """The partitions with the longest lag, in their order, and how many there are."""
    text = shown(cluster.look(), rows_max=2)
    assert "orders[0]" not in text
    assert text.index("orders[1]") < text.index("orders[2]")
    assert "the worst 2 of 3 partitions" in text


def test_json_has_null_for_what_is_unknown(cluster: Cluster) -> None:
    """Also where a lag would never be worked off: JSON has no infinity."""
    first = plain(cluster.look())
    second = plain(cluster.look())
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert first["partitions"][1]["lag_seconds"] is first["partitions"][1]["grows"] is None
    assert second["partitions"][1]["drain_seconds"] is None
    assert second["partitions"][1]["grows"] is True
    assert second["partitions"][0]["grows"] is False
    assert second["lag"] == 140


def test_a_partition_without_leader_is_left_out(cluster: Cluster) -> None:
    """Nothing is known of it, so nothing is told."""
    del cluster.ends[ORDERS[1]]
    assert [verdict.standing.source for verdict in cluster.look().verdicts] == [ORDERS[0], ORDERS[2]]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], "    "),
        ([(0.0, 0.0)], "   ▁"),
        ([(35.0, 0.0), (25.0, 50.0), (15.0, 100.0), (5.0, 25.0)], "▁▅█▃"),
        ([(35.0, 10.0), (31.0, 80.0), (5.0, 80.0)], "█  █"),  # the largest of its time; a space where nobody looked
        ([(41.0, 10.0), (1.0, 5.0)], "   █"),
    ],
)
def test_a_sparkline_shows_the_shape(points: list[tuple[float, float]], expected: str) -> None:
    """Four signs for forty seconds."""
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
def test_seconds_are_told_as_people_read_them(seconds: float | None, expected: str) -> None:
    """In the unit that fits."""
    assert seconds_text(seconds) == expected
