"""The generated Grafana dashboards: queries of known series, and a layout without overlaps."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ops.alerts import known_series, panels
from ops.alerts.dashboards import dashboards
from ops.alerts.rules import RECORDED, render
from surgetank.telemetry.metrics import Metrics
from tests.support.prometheus_tools import ROOT

FOLDER = ROOT / "ops" / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
VARIABLES = {"$__rate_interval": "1m", "$pipeline": "flights", "$worker": "worker-1:9101"}


def loaded(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def queries(board: dict[str, Any]) -> list[str]:
    """Return every expression of a dashboard, with the variables replaced."""
    drawn = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for name, value in VARIABLES.items():
        drawn = [expr.replace(name, value) for expr in drawn]
    return drawn + [each["expr"] for each in board["annotations"]["list"]]


def test_there_are_three_dashboards() -> None:
    """An overview, one per pipeline and one per worker, under the uids that alerts link to."""
    assert [path.stem for path in FILES] == sorted(board.uid for board in dashboards())
    linked = set(re.findall(r"/d/([\w-]+)", render()))
    assert linked == {loaded(path)["uid"] for path in FILES}


def test_links_of_alerts_set_existing_variables() -> None:
    """A link opens the dashboard of the alert's pipeline or worker."""
    for uid, name in re.findall(r"/d/([\w-]+)\?var-(\w+)=", render()):
        variables = {each["name"] for each in loaded(FOLDER / f"{uid}.json")["templating"]["list"]}
        assert name in variables


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_names_known_series(path: Path) -> None:
    """The catalogue has each name and label, and no variable is left."""
    found = queries(loaded(path))
    assert len(found) > 15
    for expr in found:
        assert "$" not in expr
        known_series.check(expr, RECORDED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    """They are within the grid; ids are unique; each has a title and queries."""
    board = loaded(path)
    drawn = board["panels"]
    assert len({panel["id"] for panel in drawn}) == len(drawn)
    for panel in drawn:
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]
        assert 0 <= panel["gridPos"]["x"] <= panels.COLUMNS - panel["gridPos"]["w"]
    for one, other in combinations([panel["gridPos"] for panel in drawn], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y


def test_the_overview_has_three_rows() -> None:
    """The questions of an operator."""
    rows = [panel["title"] for panel in loaded(FOLDER / "surgetank-overview.json")["panels"] if panel["type"] == "row"]
    assert rows == ["Are we keeping up?", "Will we?", "What did the system do about it?"]


def test_the_worker_dashboard_has_all_metrics_of_the_catalogue() -> None:
    """With their help texts."""
    text = (FOLDER / "surgetank-worker.json").read_text()
    for metric in Metrics():
        assert metric.name in text
        assert json.dumps(metric.help, ensure_ascii=False) in text


def test_a_query_of_an_unknown_metric_is_refused() -> None:
    """Rendering the dashboard raises an error."""
    wrong = panels.time_series("a", "s", ("rate(surgetank_evnts_scored_total[5m])", ""))
    board = panels.Dashboard("x", "X", (panels.Row("r", (wrong,)),))
    with pytest.raises(known_series.UnknownSeries, match="surgetank_evnts_scored_total"):
        panels.render(board, RECORDED)
