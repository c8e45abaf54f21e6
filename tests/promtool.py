"""Prometheus' and Alertmanager's own tools, which must be there: a test that needs one runs, or fails saying so."""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from ops.alerts.services import find_program

ROOT = Path(__file__).parents[1]
RULES = ROOT / "ops" / "prometheus" / "rules" / "surgetank.yml"
SELDOM = {"GOGC": "1000", "GOMEMLIMIT": "1GiB"}  # a quarter of promtool's time goes to collecting its garbage


def tool(name: str) -> str:
    """Return the path of a tool; one that is missing fails the test and says what to install."""
    return find_program(name)


def said(command: list[str], timeout: float = 900) -> str:
    """Run a tool that must succeed; return what it said."""
    ended = subprocess.run(
        command, text=True, capture_output=True, timeout=timeout, check=False, env=os.environ | SELDOM
    )
    assert ended.returncode == 0, (
        f"{' '.join(command[:3])}: exit {ended.returncode}\n{(ended.stdout + ended.stderr)[-3000:]}"
    )
    return ended.stdout + ended.stderr


def check_rules(folder: Path, step: int, series: dict[str, str], expected: list[dict[str, Any]]) -> None:
    """Let promtool run the shipped rules on these series, and compare what these expressions give."""
    file = folder / "test.yml"
    test = {
        "interval": f"{step}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": expected,
    }
    plan = {"rule_files": [str(RULES)], "evaluation_interval": f"{step}s", "tests": [test]}
    file.write_text(yaml.dump(plan, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), width=10**9))
    said([tool("promtool"), "test", "rules", str(file)])
