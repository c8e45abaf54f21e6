"""The folder of a new project: what is in it, and what is refused."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.errors import StartupError, TopologyError
from surgetank.kafka.local.kafka_versions import DEFAULT
from surgetank.scaffold.monitoring_files import write_monitoring_files
from surgetank.scaffold.new_project import TEMPLATE, new_project, template_files
from surgetank.settings import HttpSettings
from tests.unit.test_docs import ROOT

EVERY = {
    *(".dockerignore", ".gitignore", "Dockerfile", "README.md", "docker-compose.yml", "pytest.ini", "surgetank.toml"),
    *("models/card-risk/1/manifest.json", "models/card-risk/1/model.onnx", "models/train.py", "sample_events.py"),
    *("schemas/README.md", "schemas/ids.json", "schemas/payment.avsc", "tests/test_card_risk.py"),
    *("topology/__init__.py", "topology/card_risk.py"),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of a new project."""
    new_project("card-risk", tmp_path / "card-risk")
    return tmp_path / "card-risk"


def compose(project: Path) -> dict[str, Any]:
    """Return the services of the project's compose file."""
    loaded: dict[str, Any] = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]
    return loaded


def test_a_project_has_all_that_it_needs_under_its_own_name(project: Path) -> None:
    """No file keeps the name of the template, neither in its path nor in its text."""
    assert {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()} == EVERY
    named = [path for path in project.rglob("*") if path.is_file() and re.search(rb"my.fraud|27182", path.read_bytes())]
    assert named == []


def test_a_pipeline_has_at_most_40_lines(project: Path) -> None:
    """All that an author writes beside the training."""
    assert len((project / "topology" / "card_risk.py").read_text().splitlines()) <= 40


def test_two_projects_share_neither_port_nor_cluster(tmp_path: Path) -> None:
    """Each has its own Kafka, by `surgetank dev` and in Docker, under the same address."""
    found = []
    for name in ("one", "two"):
        new_project(name, tmp_path / name)
        kafka = compose(tmp_path / name)["kafka"]
        port = re.search(r'bootstrap = "127\.0\.0\.1:(\d+)"', (tmp_path / name / "surgetank.toml").read_text())
        assert port
        assert kafka["ports"] == [f"127.0.0.1:{port[1]}:9092"]
        assert kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"].endswith(f"HOST://127.0.0.1:{port[1]}")
        found.append((port[1], kafka["environment"]["CLUSTER_ID"]))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_what_runs_in_docker_is_what_runs_here(project: Path) -> None:
    """The image is of this version, the Kafka is the local one's, and the commands exist."""
    services = compose(project)
    assert services["kafka"]["image"] == f"apache/kafka:{DEFAULT}"
    assert f"FROM surgetank:{version('surgetank')}\n" in (project / "Dockerfile").read_text()
    assert f"image: &image surgetank:{version('surgetank')}" in (ROOT / "docker-compose.yml").read_text()
    for service in ("topics", "worker"):
        words = services[service]["command"]
        assert CliRunner().invoke(app, [*words[: words.index("card-risk")], "--help"]).exit_code == 0
        assert services[service]["image"] == "card-risk:latest"
        options = CliRunner().invoke(app, [*words[: words.index("card-risk")], "--help"]).output
        given = dict(word.split("=") for word in words if word.startswith("--"))
        assert [option for option in given if option not in options] == []
        listener = re.search(
            r"INTERNAL://([\w.-]+:\d+),", services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        )
        assert listener
        assert given["--bootstrap"] == listener[1]
        assert set(services[service]["depends_on"]) <= services.keys()
    assert any(f"localhost:{given['--port']}/ready" in word for word in services["worker"]["healthcheck"]["test"])


def test_the_image_of_a_project_has_its_files(project: Path) -> None:
    """The folders that its settings and commands need are copied, to where the commands run; local state is not."""
    lines = (project / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line and line[0] != "#"][1:] == ["WORKDIR /project", "COPY . ."]
    left_out = {line.strip("/") for line in (project / ".dockerignore").read_text().splitlines()}
    assert left_out & {"topology", "schemas", "models", "surgetank.toml", "*"} == set()
    assert ".surgetank" in left_out
    volumes = yaml.safe_load((project / "docker-compose.yml").read_text())["volumes"]
    used = [mount.partition(":")[0] for each in compose(project).values() for mount in each.get("volumes", ())]
    assert sorted(used) == sorted(volumes)


def test_the_projects_own_tests_pass(project: Path) -> None:
    """Schema, pipeline, model and training script fit each other; the training makes the model bit by bit."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "pipeline")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "5 passed" in run.stdout


@pytest.mark.parametrize("name", ["My-Fraud", "my_fraud", "1st", "a.b", "", "x" * 64, "my fraud", "../up"])
def test_a_name_that_no_pipeline_can_have_is_refused(name: str, tmp_path: Path) -> None:
    """Topics, groups and modules are named after it."""
    with pytest.raises(TopologyError, match="lower-case letters, digits and dashes"):
        new_project(name, tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_a_name_that_no_module_can_have_is_refused(tmp_path: Path) -> None:
    """A word of Python's own cannot be imported."""
    with pytest.raises(TopologyError, match="'class' is a word of Python's own"):
        new_project("class", tmp_path / "class")


def test_a_new_project_in_a_folder_with_files(tmp_path: Path) -> None:
    """Nothing that is there is touched; an empty folder is used."""
    (tmp_path / "note").write_text("mine")
    with pytest.raises(StartupError, match=f"{tmp_path} exists and is no empty folder; .*--folder"):
        new_project("card-risk", tmp_path)
    with pytest.raises(StartupError, match="is no empty folder"):
        new_project("card-risk", tmp_path / "note")
    assert [path.name for path in tmp_path.iterdir()] == ["note"]
    (tmp_path / "empty").mkdir()
    assert len(new_project("card-risk", tmp_path / "empty")) == len(EVERY)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error of the system is one sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"file.*cannot be written: Not a directory"):
        new_project("card-risk", tmp_path / "file" / "below")


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    """It names the folder and the next command."""
    said = CliRunner().invoke(app, ["new", "card-risk", "--folder", str(tmp_path / "here")])
    assert said.exit_code == 0, said.output
    assert f"cd {tmp_path / 'here'}\n  surgetank dev" in said.output


def test_no_compiled_file_of_the_template_gets_into_a_project() -> None:
    """pip compiles the template's files as it does with every module."""
    assert not any("__pycache__" in path.parts for path in template_files())


def test_the_manifest_of_the_template_names_its_model() -> None:
    """The word that is replaced is in it, once."""
    manifest = json.loads((TEMPLATE / "models" / "my-fraud" / "1" / "manifest.json").read_text())
    assert manifest["name"] == "my-fraud"
    assert json.dumps(manifest).count("my-fraud") == 1


def test_rules_and_runbooks_are_written_into_a_project(tmp_path: Path) -> None:
    """Each runbook that a rule names is there, relative to the project."""
    made = write_monitoring_files(tmp_path / "ops", HttpSettings())
    rules = (tmp_path / "ops" / "prometheus" / "rules" / "surgetank.yml").read_text()
    runbooks = set(re.findall(r"runbook_url: (\S+)", rules))
    assert len(runbooks) > 20
    assert [name for name in runbooks if not (tmp_path / name).is_file()] == []
    assert {"alertmanager/alertmanager.yml", "grafana/dashboards/surgetank-overview.json"} <= set(made)
