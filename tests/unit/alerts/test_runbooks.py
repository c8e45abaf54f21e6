"""Each alert has a runbook with all sections, and with commands and queries that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from ops.alerts import known_series
from ops.alerts.rules import ALERTS, RECORDED
from surgetank.cli import app
from surgetank.settings import Settings
from tests.support.prometheus_tools import ROOT

FOLDER = ROOT / "ops" / "runbooks"
SECTIONS = [
    "Meaning",
    "Diagnosis",
    "Actions",
    "Rollback",
    "Resolution",
    "Communication",
]
RUNBOOKS = sorted(FOLDER.glob("*.md"))
SYSTEM = {"curl", "df", "docker"}  # not ours; the rest must exist
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """Return the lines of the code blocks of a language."""
    return [line for kind, body in _BLOCK.findall(text) if kind == language for line in body.splitlines() if line]


def commands(text: str) -> list[list[str]]:
    """Return the commands of a runbook, of its blocks and of its sentences."""
    inline = re.findall(r"`((?:surgetank|docker|make|python) [^`]+)`", text)
    return [shlex.split(line, comments=True) for line in (*blocks(text, "sh"), *inline)]


def missing(words: list[str]) -> str:
    """Return which part of a command does not exist, '' if all parts exist."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return "" if rest and rest[0] in targets else f"no such target: {rest}"
    if program == "python":
        return "" if rest[0] == "-m" and (ROOT / rest[1].replace(".", "/")).is_dir() else f"no such module: {rest}"
    if program != "surgetank":
        return "" if program in SYSTEM else f"no such program: {program}"
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands") and rest:
        if rest[0] not in command.commands:
            return f"no such command: {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    options = {name for each in command.params for name in each.opts}
    if wrong := [word for word in rest if word.startswith("--") and word not in options]:
        return f"no such option: {wrong} in {' '.join(words)}"
    for number, word in enumerate(rest):
        if word == "--set":
            section, _, name = rest[number + 1].partition("=")[0].partition(".")
            if name not in type(getattr(Settings(), section)).model_fields:
                return f"no such setting: {rest[number + 1]}"
    return ""


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    """The file has the name of the alert."""
    assert [path.stem for path in RUNBOOKS] == sorted(alert.name for alert in ALERTS)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_all_sections(path: Path) -> None:
    """Title, six sections in a fixed order, each with content, and a message template at the end."""
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    assert all(len(body.split()) >= 5 for body in parts[2::2]), path.stem
    assert re.search(r"^> .{30,}", parts[-1], re.MULTILINE)
    assert blocks(text, "sh"), "at least one command that works"


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_commands_of_a_runbook_exist(path: Path) -> None:
    """Commands, options and settings of the current version."""
    assert [wrong for words in commands(path.read_text()) if (wrong := missing(words))] == []


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_links_of_a_runbook_exist(path: Path) -> None:
    """Links to other runbooks, and names of files."""
    text = path.read_text()
    named = [FOLDER / link for link in re.findall(r"\]\((\w+\.md)\)", text)]
    named += [ROOT / name for name in re.findall(r"`((?:ops|pipeline|topology)/[\w/.-]+)`", text)]
    assert [str(each) for each in named if not each.exists()] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("surgetank lags flights", "no such command"),
        ("surgetank lag flights --wach", "no such option"),
        ("surgetank worker x --set worker.rows=1", "no such setting"),
        ("make tset", "no such target"),
        ("surgetnk lag", "no such program"),
        ("surgetank kafka status", ""),
        ("surgetank worker x --set worker.batch_rows_max=1", ""),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, wrong: str) -> None:
    """The check above fails for each part of a command."""
    assert missing(shlex.split(line)).startswith(wrong)
    assert bool(missing(shlex.split(line))) == bool(wrong)


def test_queries_of_runbooks_name_known_series() -> None:
    """The catalogue has each name and label of every query."""
    queries = [query for path in RUNBOOKS for query in blocks(path.read_text(), "promql")]
    assert len(queries) > len(RUNBOOKS)
    for query in queries:
        known_series.check(query, RECORDED)
