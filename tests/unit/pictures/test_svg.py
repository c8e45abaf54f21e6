"""Charts as SVG: well formed, to scale, split at gaps."""

import math
import re
from xml.etree import ElementTree

import pytest

from ops.pictures.overview import format_legend
from ops.pictures.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    ChartLine,
    format_value,
    page,
    segments,
    ticks,
)
from tests.support.prometheus_tools import ROOT

LAG = ChartLine("flights", [0, 5, 10, 15], [0.0, 10.0, 20.0, 10.0])


def points(svg: str) -> list[list[float]]:
    """Return the points of the first line."""
    (path, *_) = [each.get("d", "") for each in ElementTree.fromstring(svg).iter() if each.get("fill") == "none"]
    return [[float(x), float(y)] for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_a_line_is_to_scale() -> None:
    """The first second is at the left edge, the last at the right; 0 is at the bottom, the top tick at the top."""
    drawn = points(page("x", [Chart("Lag", "s", (LAG,))], 15, 5))
    assert drawn[0] == [LEFT, HEIGHT - BOTTOM]
    assert drawn[2][1] == TOP
    assert drawn[3][0] == WIDTH - RIGHT
    assert drawn[1][1] == drawn[3][1]


def test_label_texts_are_escaped() -> None:
    """A topic or a model may have any name."""
    svg = page("<a> & b", [Chart("<c>", "ops", (ChartLine('"d" <&>', [0, 5], [1.0, 2.0]),), limit=1.5)], 5, 5)
    assert "<a> & b" in "".join(ElementTree.fromstring(svg).itertext())


def test_a_chart_without_data_has_axes() -> None:
    """Without a line, with only zeros, or with values that are not finite."""
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
def test_a_line_is_split_at_gaps(seconds: list[float], values: list[float], parts: list[int]) -> None:
    """No values are interpolated."""
    assert [len(part) for part in segments(ChartLine("", seconds, values), 5)] == parts


@pytest.mark.parametrize(
    ("top", "last"), [(1.0, 1.0), (0.9, 1.0), (12_000, 15_000), (61, 75), (3, 3), (0.0003, 0.0003)]
)
def test_ticks_are_round_and_reach_the_top(top: float, last: float) -> None:
    """Three or four ticks above 0; the last one is not below the highest value."""
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
    """In a readable scale."""
    assert format_value(value, unit) == text


def test_legends_contain_the_label_values() -> None:
    """As in Grafana: a missing label is empty."""
    assert format_legend("{{pipeline}} in", {"pipeline": "flights"}) == "flights in"
    assert format_legend("{{stage}} {{reason}}", {"stage": "decode"}) == "decode"


def test_the_picture_of_the_overview_dashboard_is_shown_to_operators_and_small() -> None:
    """`python -m ops.pictures.overview` draws it."""
    picture = ROOT / "ops" / "pictures" / "overview.svg"
    assert f"](../{picture.relative_to(ROOT).as_posix()})" in (ROOT / "docs" / "operating.md").read_text()
    assert picture.stat().st_size < 150_000
    assert len(list(ElementTree.fromstring(picture.read_text()).iter())) > 100
