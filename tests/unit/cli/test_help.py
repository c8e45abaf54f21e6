"""The help of all commands: its width, its examples, and what it says about exit statuses."""

import inspect
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from surgetank import errors
from surgetank.cli import app
from surgetank.cli.examples import EXAMPLES

WIDTH = 80


@pytest.fixture
def program() -> TyperGroup:
    """Return the command line, built anew."""
    return built()


def built() -> TyperGroup:
    """Return the command line as a tree of commands."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def commands(group: TyperGroup, prefix: str = "") -> Iterator[tuple[str, TyperCommand]]:
    """Yield all commands with their names, as ``topics apply``."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{prefix}{name} ")
        elif isinstance(command, TyperCommand):
            yield prefix + name, command


PATHS = [path for path, _ in commands(built())]


@pytest.mark.parametrize("path", ["", *sorted({path.rpartition(" ")[0] for path in PATHS if " " in path}), *PATHS])
def test_help_is_plain_text_of_80_columns(path: str) -> None:
    """No colours, no boxes, and brackets are printed."""
    result = CliRunner().invoke(app, [*path.split(), "--help"])
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= WIDTH
    assert result.output.isascii()
    assert "\x1b" not in result.output


def test_the_extra_that_a_command_needs_is_named() -> None:
    """Brackets are no markup."""
    assert "surgetank[offline]" in CliRunner().invoke(app, ["features", "backfill", "--help"]).output


def test_each_command_has_examples(program: TyperGroup) -> None:
    """The help ends with them; there are none of other commands."""
    assert set(EXAMPLES) == {path for path, _ in commands(program)}
    for path, command in commands(program):
        assert (command.epilog or "").splitlines()[2:] == [f"  {line}" for line in EXAMPLES[path]]


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in EXAMPLES.items() for line in lines])
def test_examples_are_accepted(
    path: str, line: str, program: TyperGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser takes each of them, and calls the command under which it is shown, which is replaced here."""
    monkeypatch.chdir(tmp_path)
    for folder in ("snapshot", "recorded", "schemas"):  # folders that must exist
        (tmp_path / folder).mkdir()
    called: list[str] = []

    def replaced(name: str) -> Any:
        return lambda **_: called.append(name)

    program.callback = None
    for name, command in commands(program):
        command.callback = replaced(name)
    program_name, *arguments = shlex.split(line)
    program.main(arguments, prog_name="surgetank", standalone_mode=False)
    assert (program_name, called) == ("surgetank", [path])


def test_the_worker_documents_all_exit_statuses() -> None:
    """They are those of the errors."""
    found = {
        each.exit_code
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, errors.SurgetankError)
    }
    lines = [line.split()[:1] for line in CliRunner().invoke(app, ["worker", "--help"]).output.splitlines()]
    assert [[str(code)] for code in sorted({0} | found)] == [line for line in lines if line and line[0].isdecimal()]


def test_the_version_is_printed() -> None:
    """Without a command, and without a project."""
    result = CliRunner().invoke(app, ["--version"])
    name, _, version = result.output.strip().partition(" ")
    assert (result.exit_code, name) == (0, "surgetank")
    assert version[0].isdecimal()


def test_shells_complete_commands() -> None:
    """A shell asks the program itself."""
    asked = {"_SURGETANK_COMPLETE": "complete_bash", "COMP_WORDS": "surgetank topics a", "COMP_CWORD": "2"}
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'surgetank'; from surgetank.cli import main; main()"]
    ended = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=True)
    assert "apply" in ended.stdout.split()


def test_commands_that_scripts_read_print_json(program: TyperGroup) -> None:
    """All but those that run until they are stopped, write files, or tell all by their exit status."""
    options = {path: {name for each in command.params for name in each.opts} for path, command in commands(program)}
    without = {path for path, names in options.items() if "--json" not in names}
    run_on = {"dev", "worker", "timeline receive"}
    write = {"new", "monitoring", "demo", "bench", "incident report"}
    status_only = {"kafka wait", "schemas check", "state reset"}
    assert without == run_on | write | status_only | {"state inspect"}  # which prints nothing but JSON
