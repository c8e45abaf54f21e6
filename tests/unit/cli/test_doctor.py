"""`surgetank doctor` as a command: its exit status and its output."""

import json

import pytest
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.doctor import checkup
from surgetank.errors import BrokerError
from surgetank.settings import KafkaSettings
from tests.support.registry_stub import registry_stub


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the settings of the only broker of a Kafka."""
    settings: dict[str, str] = {}
    monkeypatch.setattr(checkup, "broker_settings", lambda _: (1, settings))
    return settings


def test_a_machine_without_problems(brokers: dict[str, str]) -> None:
    """Status 0; without a pipeline, its checks are skipped."""
    brokers["inter.broker.protocol.version"] = "3.9-IV0"
    result = CliRunner().invoke(app, ["doctor", "--json"])
    answer = json.loads(result.stdout)
    found = {each["check"]: each for each in answer["findings"]}
    assert (result.exit_code, answer["ok"]) == (0, True)
    assert found["topics"]["severity"] == "skipped"
    assert found["kafka"]["found"].endswith("Kafka 3.9")


def test_no_broker_answers_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 1, with what to do; the machine and the model are checked all the same."""

    def silent(kafka: KafkaSettings) -> None:
        raise BrokerError(f"no Kafka broker answers at {kafka.bootstrap}")

    monkeypatch.setattr(checkup, "broker_settings", silent)
    result = CliRunner().invoke(app, ["doctor", "flights", "--bootstrap", "kafka.example:1"])
    assert result.exit_code == 1
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert "no Kafka broker answers at kafka.example:1" in lines["kafka"]
    assert lines["model"].split()[1] == "ok"
    assert "-> start the brokers" in result.output


def test_a_doctor_for_a_pipeline_without_its_model(brokers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a problem, and not the end of the command."""
    del brokers
    monkeypatch.setenv("SURGETANK_MODEL__NAME", "no-such-model")
    monkeypatch.setattr(checkup, "_pipeline_findings", lambda *_: iter(()))
    result = CliRunner().invoke(app, ["doctor", "flights", "--json"])
    (model,) = [each for each in json.loads(result.stdout)["findings"] if each["check"] == "model"]
    assert (result.exit_code, model["severity"]) == (1, "problem")
    assert "no-such-model" in model["found"]


def test_a_doctor_asks_the_schema_registry(brokers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the subjects that are missing; a registry that fails is a problem."""
    del brokers
    monkeypatch.setattr(checkup, "_pipeline_findings", lambda *_: iter(()))

    def finding() -> dict[str, str]:
        answer = json.loads(CliRunner().invoke(app, ["doctor", "flights", "--json"]).stdout)
        (found,) = [each for each in answer["findings"] if each["check"] == "registry"]
        return {name: str(text) for name, text in found.items()}

    with registry_stub() as stub:
        monkeypatch.setenv("SURGETANK_SCHEMA_REGISTRY__URL", stub.url)
        assert "flights.scores-value" in finding()["found"]
        stub.fault = lambda _: (500, b"{}")
        assert finding()["severity"] == "problem"
