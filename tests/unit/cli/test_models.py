"""`surgetank models`: a bundle is made, published and pulled by commands; scripts get JSON and exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.errors import ModelError, SettingsError, SurgetankError
from surgetank.serving import bundle
from tests.support.model_bundles import NAME, key_pair, linear_model, made, with_two_outputs

PIPELINE = "ops.training.flights_schedule"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in a folder of its own, with bundles in models/ and a registry in registry/."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURGETANK_MODEL__DIRECTORY", "models")
    monkeypatch.setenv("SURGETANK_MODEL__REGISTRY", str(tmp_path / "registry"))
    linear_model(tmp_path / "net.onnx")
    return tmp_path


def run(*arguments: str, status: int = 0) -> str:
    """Run a command of the group; return its standard output."""
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return result.stdout


def asked(*arguments: str, status: int = 0) -> Any:
    """Run a command with --json; return the object that it prints."""
    return json.loads(run(*arguments, "--json", status=status))


def refusal(kind: type[SurgetankError], *arguments: str) -> str:
    """Return the message of the error that ends a command with status 2."""
    result = CliRunner().invoke(app, ["models", *arguments])
    assert isinstance(result.exception, kind), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


def test_a_bundle_is_built_published_and_pulled(project: Path) -> None:
    """From an ONNX file to the folder of another machine: the digest stays."""
    (project / "figures.json").write_text('{"auc": 0.71}')
    more = ("--figures", "figures.json", "--licence", "Apache-2.0", "--meaning", "how late")
    built = asked("build", PIPELINE, "net.onnx", "--version", "2", *more)
    assert (built["name"], built["version"], built["folder"], built["signed"]) == (NAME, "2", f"models/{NAME}/2", False)
    assert list(built["files"]) == ["model.onnx"]
    assert asked("publish", f"{NAME}:2")["published"] is True
    assert asked("publish", f"{NAME}:2")["published"] is False
    pulled = asked("pull", f"{NAME}:2", "--directory", "elsewhere")
    assert (pulled["pulled"], pulled["digest"]) == (True, built["digest"])
    assert asked("pull", f"{NAME}:2", "--directory", "elsewhere")["pulled"] is False
    shown = asked("show", f"{NAME}:2", "--directory", "elsewhere")
    assert (shown["figures"], shown["licence"], shown["meaning"]) == ({"auc": 0.71}, "Apache-2.0", "how late")
    assert shown["created_by"] == f"surgetank models build {PIPELINE} net.onnx --version 2"
    (listed,) = asked("list")["versions"]
    assert (listed["local"], listed["registry"], listed["digest"]) == (True, True, built["digest"])


def test_a_child_has_the_meaning_of_its_parent() -> None:
    """And names it."""
    run("build", PIPELINE, "net.onnx", "--version", "1", "--meaning", "how late")
    run("build", PIPELINE, "net.onnx", "--version", "2", "--parent", f"{NAME}:1")
    found = bundle.load(Path("models"), NAME, "2").manifest
    assert (found.parent, found.meaning) == (f"{NAME}:1", "how late")
    assert "no version '9'" in refusal(ModelError, "build", PIPELINE, "net.onnx", "--version", "3", "--parent", "9")


def test_a_model_from_elsewhere_is_imported(project: Path) -> None:
    """Where there is a choice of outputs, they are listed and nothing is made."""
    with_two_outputs(project / "two.onnx")
    message = refusal(ModelError, "import-onnx", PIPELINE, "two.onnx", "--version", "1")
    assert "\n  margin  tensor(float)  [rows, 1]" in message
    assert bundle.versions_in(Path("models"), NAME) == []
    run("import-onnx", PIPELINE, "two.onnx", "--version", "1", "--output", "margin")
    assert bundle.load(Path("models"), NAME).manifest.output == "margin"


def test_a_signed_bundle_is_verified(project: Path) -> None:
    """An unsigned one is refused where a key is given, also by the commands that copy."""
    private, public = key_pair(project)
    assert asked("build", PIPELINE, "net.onnx", "--version", "1", "--sign-key", str(private))["signed"]
    made(project / "models", "2")
    key = ("--verify-key", str(public))
    verified = asked("verify", f"{NAME}:1", "--pipeline", PIPELINE, *key)
    assert verified == {
        "ok": True,
        "digest": bundle.load(project / "models", NAME, "1").digest,
        "signature_verified": True,
    }
    assert "was not verified: no key is set" in run("verify", f"{NAME}:1")
    assert "is not signed" in asked("verify", f"{NAME}:2", *key, status=2)["problem"]
    for command in ("verify", "publish"):
        assert "is not signed" in refusal(ModelError, command, f"{NAME}:2", *key)
    run("publish", f"{NAME}:2")
    run("publish", f"{NAME}:1", *key)
    assert "is not signed" in refusal(ModelError, "pull", f"{NAME}:2", "--directory", "other", *key)
    run("pull", f"{NAME}:1", "--directory", "other", *key)


def test_a_damaged_bundle_is_neither_verified_nor_published(project: Path) -> None:
    """Nor one for another pipeline."""
    found = made(project / "models", "1")
    run("verify", f"{NAME}:1", "--pipeline", PIPELINE)
    assert "does not fit" in refusal(ModelError, "verify", f"{NAME}:1", "--pipeline", "ops.bench.payments")
    found.model.write_bytes(b"cut")
    for command in ("verify", "publish", "show"):
        assert "has not the checksum" in refusal(ModelError, command, f"{NAME}:1")
    assert asked("verify", f"{NAME}:1", status=2)["ok"] is False


@pytest.mark.parametrize("content", ["[]", "{", "3"])
def test_figures_are_an_object(content: str, project: Path) -> None:
    """Else the file is named."""
    (project / "figures.json").write_text(content)
    arguments = ("build", PIPELINE, "net.onnx", "--version", "1", "--figures")
    assert "--figures figures.json: " in refusal(SettingsError, *arguments, "figures.json")
    assert "none.json: No such file" in refusal(SettingsError, *arguments, "none.json")


def test_versions_are_named_in_full() -> None:
    """A name alone, and no registry."""
    assert "the forms are NAME:VERSION" in refusal(SettingsError, "show", NAME)
    made(Path("models"), "1")
    assert "bundles are published to a location" in refusal(
        SettingsError, "publish", f"{NAME}:1", "--registry", "mlflow:http://127.0.0.1:1"
    )


def test_tables_of_bundles_fit_80_columns(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of list and show; a problem of a version is a line."""
    monkeypatch.setenv("COLUMNS", "80")
    run("build", PIPELINE, "net.onnx", "--version", "2026-11-28-candidate")
    run("publish", f"{NAME}:2026-11-28-candidate")
    (made(project / "models", "1").folder / "manifest.json").write_text("{")
    listed, shown = run("list"), run("show", f"{NAME}:2026-11-28-candidate")
    assert f"{NAME} 1: model manifest" in listed
    table = [line for line in listed.splitlines() if not line.startswith(f"{NAME} 1:")]
    assert max(map(len, [*table, *shown.splitlines()])) <= 80
    assert "registry" in listed
    assert "features" in shown
