"""What `surgetank topics apply` checks before it creates topics."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from surgetank import Pipeline
from surgetank.cli import topics
from surgetank.errors import ModelError, SchemaError
from surgetank.kafka import provisioning
from surgetank.settings import KafkaSettings
from topology.flights import flights


@pytest.fixture(autouse=True)
def created(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the pipelines whose topics were created; nothing reaches Kafka."""
    found: list[str] = []

    def create(_: KafkaSettings, pipeline: Pipeline, *__: object, **___: object) -> list[str]:
        found.append(pipeline.name)
        return []

    monkeypatch.setattr(provisioning, "apply", create)
    monkeypatch.setattr(provisioning, "existing", lambda _: {})
    return found


def test_topics_of_a_pipeline_without_a_model(
    created: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is created, and the message says how to create them all the same."""
    monkeypatch.setenv("SURGETANK_MODEL__DIRECTORY", str(tmp_path))
    failed = CliRunner().invoke(topics.app, ["apply", "flights"])
    assert isinstance(failed.exception, ModelError)
    assert "--no-declaration" in str(failed.exception)
    assert created == []
    assert CliRunner().invoke(topics.app, ["apply", "flights", "--no-declaration"]).exit_code == 0
    assert created == [flights.name]


def test_topics_of_a_pipeline_without_its_schemas(
    created: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is created."""
    monkeypatch.setenv("SURGETANK_SCHEMAS__DIRECTORY", str(tmp_path))
    failed = CliRunner().invoke(topics.app, ["apply", "flights"])
    assert isinstance(failed.exception, SchemaError)
    assert created == []


def test_topics_of_a_whole_pipeline_are_created(created: list[str]) -> None:
    """Its schemas and its model are those that workers use."""
    result = CliRunner().invoke(topics.app, ["apply", "flights"])
    assert result.exit_code == 0, result.output
    assert created == [flights.name]
