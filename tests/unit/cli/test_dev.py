"""``surgetank dev`` before it runs anything: which pipeline, and which Kafka."""

from pathlib import Path

import pytest

from surgetank.cli import dev
from surgetank.cli.options import SettingsOptions
from surgetank.errors import SettingsError, StartupError, TopologyError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("known", "says"), [([], "has no pipelines in topology/"), (["a", "b"], r"name one: surgetank dev a\|b")]
)
def test_a_pipeline_has_to_be_named_unless_there_is_one(
    known: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which there are."""
    monkeypatch.setattr("surgetank.cli.pipeline_argument.known", lambda: known)
    with pytest.raises(TopologyError, match=says):
        dev._only_pipeline()


def test_the_only_pipeline_needs_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new project."""
    monkeypatch.setattr("surgetank.cli.pipeline_argument.known", lambda: ["my-fraud"])
    assert dev._only_pipeline() == "my-fraud"


def test_a_kafka_elsewhere_is_used_only_if_it_is_named(project: Path) -> None:
    """Sample events go to no cluster that the settings file happens to name, such as that of production."""
    (project / "surgetank.toml").write_text('[kafka]\nbootstrap = "kafka.example:9092"\n')
    with (
        pytest.raises(SettingsError, match=r"surgetank dev --bootstrap kafka\.example:9092"),
        dev._kafka(SettingsOptions()),
    ):
        pass
    with dev._kafka(SettingsOptions("kafka.example:9092")) as servers:
        assert servers == "kafka.example:9092"


def test_a_kafka_that_cannot_be_started_is_said_to_be_replaceable(project: Path) -> None:
    """Here its folder holds something else."""
    (project / ".surgetank" / "kafka").mkdir(parents=True)
    (project / ".surgetank" / "kafka" / "note").write_text("mine")
    with (
        pytest.raises(StartupError, match=r"holds no local Kafka.*; or use another Kafka: surgetank dev"),
        dev._kafka(SettingsOptions()),
    ):
        pass
