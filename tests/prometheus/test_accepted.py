"""promtool accepts the shipped configuration and the queries of the dashboards and runbooks."""

import shutil
from pathlib import Path

import pytest

from ops.alerts.rules import ALL
from tests.support.prometheus_tools import ROOT, check_queries, said, tool
from tests.unit.alerts.test_dashboards import FILES, loaded, queries
from tests.unit.alerts.test_runbooks import RUNBOOKS, blocks

PROMETHEUS = ROOT / "ops" / "prometheus"


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    """With the rules that it names and the list of workers."""
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    answer = said([tool("promtool"), "check", "config", str(tmp_path / "prometheus" / "prometheus.yml")])
    assert "1 rule files found" in answer
    assert f"{sum(len(group.rules) for group in ALL)} rules found" in answer


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_of_a_dashboard_parses(path: Path, tmp_path: Path) -> None:
    """With a value for each variable."""
    check_queries(tmp_path, queries(loaded(path)))


def test_every_query_of_a_runbook_parses(tmp_path: Path) -> None:
    """Each expression of each runbook."""
    check_queries(tmp_path, [query for path in RUNBOOKS for query in blocks(path.read_text(), "promql")])
