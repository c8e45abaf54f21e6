"""Runs the tools of Prometheus and Alertmanager; a test that needs a missing tool fails."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.support.programs import needed

ROOT = Path(__file__).parents[2]
RULES = ROOT / "ops" / "prometheus" / "rules" / "surgetank.yml"
PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
SELDOM = {"GOGC": "1000", "GOMEMLIMIT": "1GiB"}  # by default a quarter of promtool's time is garbage collection


def tool(name: str) -> str:
    """Return the path of promtool or amtool; fail the test if it is not installed."""
    return needed(PACKAGES[name], name)


def check_queries(folder: Path, queries: Sequence[str]) -> None:
    """Parse these PromQL expressions with promtool, as rules in a file of this folder."""
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(queries)]
    (folder / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(queries)} rules found" in said([tool("promtool"), "check", "rules", str(folder / "queries.yml")])


def said(command: list[str], timeout: float = 900) -> str:
    """Run a tool that must succeed; return its output."""
    ended = subprocess.run(
        command, text=True, capture_output=True, timeout=timeout, check=False, env=os.environ | SELDOM
    )
    assert ended.returncode == 0, (
        f"{' '.join(command[:3])}: exit {ended.returncode}\n{(ended.stdout + ended.stderr)[-3000:]}"
    )
    return ended.stdout + ended.stderr


def check_rules(folder: Path, step: int, series: dict[str, str], expected: list[dict[str, Any]]) -> None:
    """Run the shipped rules on these series with promtool, and compare the values of these expressions."""
    file = folder / "test.yml"
    test = {
        "interval": f"{step}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": expected,
    }
    plan = {"rule_files": [str(RULES)], "evaluation_interval": f"{step}s", "tests": [test]}
    file.write_text(yaml.dump(plan, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), width=10**9))
    said([tool("promtool"), "test", "rules", str(file)])
