"""Charts as SVG: well formed, to scale, cut where nothing was seen."""

import math
import re
from xml.etree import ElementTree

import pytest

from ops.pictures.overview import worded as legend
from ops.pictures.svg import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, ChartLine, page, segments, ticks, worded
from tests.support.prometheus_tools import ROOT

LAG = ChartLine("flights", [0, 5, 10, 15], [0.0, 10.0, 20.0, 10.0])


def points(svg: str) -> list[list[float]]:
    """Return the points of the first line that is drawn."""
    (path, *_) = [each.get("d", "") for each in ElementTree.fromstring(svg).iter() if each.get("fill") == "none"]
    return [[float(x), float(y)] for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_a_line_is_to_scale() -> None:
    """The first second is at the left edge, the last at the right; 0 is the bottom and the top mark the top."""
    drawn = points(page("x", [Chart("Lag", "s", (LAG,))], 15, 5))
    assert drawn[0] == [LEFT, HEIGHT - BOTTOM]
    assert drawn[2][1] == TOP
    assert drawn[3][0] == WIDTH - RIGHT
    assert drawn[1][1] == drawn[3][1]


def test_texts_from_labels_do_not_break_the_file() -> None:
    """A topic or a model may be called anything."""
    svg = page("<a> & b", [Chart("<c>", "ops", (ChartLine('"d" <&>', [0, 5], [1.0, 2.0]),), limit=1.5)], 5, 5)
    assert "<a> & b" in "".join(ElementTree.fromstring(svg).itertext())


def test_a_chart_of_nothing_is_a_chart() -> None:
    """No line, or only zeros, or no number at all still gives axes."""
    lines = (ChartLine("zero", [0, 5], [0.0, 0.0]), ChartLine("nan", [0, 5], [math.nan, math.inf]))
    svg = page("x", [Chart("none", "s", ()), Chart("flat", "s", lines)], 5, 5)
    assert len(points(svg)) == 2


@pytest.mark.parametrize(
    ("seconds", "values", "parts"),
    [
        ([0, 5, 10], [1, 2, 3], [3]),
        ([0, 5, 30, 35], [1, 2, 3, 4], [2, 2]),
        ([0, 5, 10], [1, math.nan, 3], [1, 1]),
        ([0, 5], [math.inf, math.inf], []),
    ],
)
def test_a_line_is_cut_where_nothing_was_seen(seconds: list[float], values: list[float], parts: list[int]) -> None:
    """A gap in the data is a gap in the picture: nothing is made up."""
    assert [len(part) for part in segments(ChartLine("", seconds, values), 5)] == parts


@pytest.mark.parametrize(
    ("top", "last"), [(1.0, 1.0), (0.9, 1.0), (12_000, 15_000), (61, 75), (3, 3), (0.0003, 0.0003)]
)
def test_marks_are_round_and_reach_the_top(top: float, last: float) -> None:
    """Three or four marks above 0, the last not below the highest value."""
    found = ticks(top)
    assert found[0] == 0
    assert found[-1] == pytest.approx(last)
    assert 2 <= len(found) <= 5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.05, "s", "50 ms"),
        (20, "s", "20 s"),
        (12_000, "ops", "12 k/s"),
        (0.001, "percentunit", "0.1 %"),
        (2, "short", "2"),
    ],
)
def test_values_have_their_unit(value: float, unit: str, text: str) -> None:
    """As an operator would say it."""
    assert worded(value, unit) == text


def test_legends_name_the_labels() -> None:
    """As Grafana does: a label that is absent leaves nothing."""
    assert legend("{{pipeline}} in", {"pipeline": "flights"}) == "flights in"
    assert legend("{{stage}} {{reason}}", {"stage": "decode"}) == "decode"


def test_the_picture_of_the_readme_is_small_and_there() -> None:
    """It is drawn by `python -m ops.pictures.overview` and weighs little."""
    picture = ROOT / "ops" / "pictures" / "overview.svg"
    assert f"]({picture.relative_to(ROOT).as_posix()})" in (ROOT / "README.md").read_text()
    assert picture.stat().st_size < 150_000
    assert len(list(ElementTree.fromstring(picture.read_text()).iter())) > 100
