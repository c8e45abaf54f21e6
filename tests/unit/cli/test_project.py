"""The folder of a project: what commands take from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import surgetank
from surgetank.cli import app
from surgetank.cli.pipeline_argument import resolve
from surgetank.errors import TopologyError
from tests.unit.codec.avro_samples import record, write_folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a settings file and a schema; the current folder is another one."""
    folder, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    write_folder(folder / "avro", record(("a", "int")))
    (folder / "surgetank.toml").write_text('[schemas]\ndirectory = "avro"\n[kafka]\nbootstrap = "kafka.example:1"\n')
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend(elsewhere)  # restores the import path at the end
    return folder


def said(*words: str) -> str:
    """Return what a command prints."""
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_an_option_before_the_command_names_the_folder_of_the_project(project: Path) -> None:
    """Settings file and schemas are those of the folder, and modules are imported from it."""
    assert "kafka.example:1" in said("--project", str(project), "settings", "--json")
    assert Path.cwd() == project
    assert "schemas: event, features, score" in said("schemas", "check")


def test_a_variable_names_the_folder_of_the_project_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is started by another one does not apply a relative path twice."""
    monkeypatch.setenv("SURGETANK_PROJECT", "../project")
    assert "kafka.example:1" in said("settings", "--json")
    assert "SURGETANK_PROJECT" not in os.environ


def test_a_benchmark_outside_of_the_repository(tmp_path: Path) -> None:
    """The package does not contain it: the message says where it is, also in a project with a folder `ops`."""
    (tmp_path / "ops").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(surgetank.__file__).parents[1])}
    command = [sys.executable, "-m", "surgetank.cli", "bench"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        "surgetank: the benchmark is not in the package: run it in a clone of the repository\n",
    )


def test_a_folder_of_schemas_is_checked(project: Path) -> None:
    """A change that old readers do not understand ends with status 1."""
    assert "schemas: event" in said("schemas", "check", str(project / "avro"))
    (project / "avro" / "event.avsc").write_text('{"type": "record", "name": "Event", "fields": []}')
    assert CliRunner().invoke(app, ["schemas", "check", str(project / "avro")]).exit_code == 1


def test_a_command_in_a_folder_without_pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not a traceback: the message says how to name another folder."""
    monkeypatch.setattr("surgetank.cli.pipeline_argument._HOME", "no_such_topology")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TopologyError, match=rf"here {tmp_path}, has no pipelines .*--project FOLDER"):
        resolve("my-fraud")
