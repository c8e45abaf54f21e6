"""The dashboards as Grafana gets them: every query names what there is, and panels lie side by side."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from ops.alerts import panels, series
from ops.alerts.dashboards import boards
from ops.alerts.rules import RECORDED, render
from pipeline.telemetry.metrics import Metrics
from tests.support.prometheus_tools import ROOT

FOLDER = ROOT / "ops" / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
CHOSEN = {"$__rate_interval": "1m", "$pipeline": "flights", "$worker": "worker-1:9101"}


def loaded(path: Path) -> dict[str, Any]:
    """Return a dashboard."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def queries(board: dict[str, Any]) -> list[str]:
    """Return every expression of a dashboard, with the reader's choices made."""
    drawn = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    for name, value in CHOSEN.items():
        drawn = [expr.replace(name, value) for expr in drawn]
    return drawn + [each["expr"] for each in board["annotations"]["list"]]


def test_the_three_dashboards_are_there() -> None:
    """An overview, one per pipeline and one per worker, under the addresses that alerts link to."""
    assert [path.stem for path in FILES] == sorted(board.uid for board in boards())
    linked = set(re.findall(r"/d/([\w-]+)", render()))
    assert linked == {loaded(path)["uid"] for path in FILES}


def test_links_of_alerts_set_the_variables_that_dashboards_have() -> None:
    """A link from an alert opens the dashboard of that pipeline or worker, not of the first in the list."""
    for uid, name in re.findall(r"/d/([\w-]+)\?var-(\w+)=", render()):
        variables = {each["name"] for each in loaded(FOLDER / f"{uid}.json")["templating"]["list"]}
        assert name in variables


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_names_what_there_is(path: Path) -> None:
    """The catalogue has each name and label; no choice is left open."""
    found = queries(loaded(path))
    assert len(found) > 15
    for expr in found:
        assert "$" not in expr
        series.check(expr, RECORDED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_lie_side_by_side(path: Path) -> None:
    """No panel lies on another or over the edge; ids are their own; each has a title and queries."""
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


def test_the_overview_asks_three_questions() -> None:
    """Its rows are the questions that an operator has."""
    rows = [panel["title"] for panel in loaded(FOLDER / "surgetank-overview.json")["panels"] if panel["type"] == "row"]
    assert rows == ["Are we keeping up?", "Will we?", "What did the system do about it?"]


def test_a_worker_shows_all_that_its_catalogue_has() -> None:
    """Whoever adds a metric sees it on a dashboard, with its help text."""
    text = (FOLDER / "surgetank-worker.json").read_text()
    for metric in Metrics():
        assert metric.name in text
        assert json.dumps(metric.help, ensure_ascii=False) in text


def test_a_query_of_an_unknown_metric_is_refused() -> None:
    """A dashboard with a name that nothing exposes is not made."""
    wrong = panels.show("a", "s", ("rate(surgetank_evnts_scored_total[5m])", ""))
    board = panels.Board("x", "X", (panels.Row("r", (wrong,)),))
    with pytest.raises(series.UnknownSeries, match="surgetank_evnts_scored_total"):
        panels.render(board, RECORDED)
