"""Variables with the prefix of settings: those of Kubernetes are ignored, unknown ones refused with a suggestion."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from surgetank.errors import SettingsError
from surgetank.kafka.local.kafka_versions import VARIABLE
from surgetank.kafka.local.maven_repository import VARIABLE as MAVEN_REPOSITORY
from surgetank.settings import StateSettings, describe, load
from surgetank.settings.environment import is_service_variable, setting_variables
from surgetank.settings.names import OPTIONS, name_of, variable_of

# What Kubernetes sets for a Service named "surgetank" with the ports "http" and "grpc-web", in its documented format.
KUBERNETES = {
    "SURGETANK_SERVICE_HOST": "10.0.171.239",
    "SURGETANK_SERVICE_PORT": "8080",
    "SURGETANK_SERVICE_PORT_HTTP": "8080",
    "SURGETANK_SERVICE_PORT_GRPC_WEB": "9090",
    "SURGETANK_PORT": "tcp://10.0.171.239:8080",
    "SURGETANK_PORT_8080_TCP": "tcp://10.0.171.239:8080",
    "SURGETANK_PORT_8080_TCP_PROTO": "tcp",
    "SURGETANK_PORT_8080_TCP_PORT": "8080",
    "SURGETANK_PORT_8080_TCP_ADDR": "10.0.171.239",
    "SURGETANK_PORT_9090_UDP": "udp://10.0.171.239:9090",
    "SURGETANK_PORT_9090_SCTP_ADDR": "10.0.171.239",
}
LAG_EXPORTER = {name.replace("SURGETANK_", "SURGETANK_LAG_EXPORTER_"): value for name, value in KUBERNETES.items()}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in an empty folder with no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SURGETANK_")]:
        monkeypatch.delenv(name)


def refusal(variable: str, value: str = "1") -> str:
    """Return the message for one variable in the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(variable, value)
        with pytest.raises(SettingsError) as caught:
            load()
    return str(caught.value)


@pytest.mark.parametrize("variables", [KUBERNETES, LAG_EXPORTER], ids=["surgetank", "surgetank-lag-exporter"])
def test_variables_of_a_kubernetes_service(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """A command runs in the namespace of a Service with this name, and settings are read beside its variables."""
    from surgetank.cli import app

    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SURGETANK_TELEMETRY__PORT", "9000")
    assert load().telemetry.port == 9000
    assert [each.name for each in describe() if each.origin != "default"] == ["telemetry.port"]
    result = CliRunner().invoke(app, ["settings", "--json"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("variable", ["SURGETANK_CACHE", VARIABLE, MAVEN_REPOSITORY])
def test_variables_of_the_local_kafka_are_no_settings(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """They may be set where a worker starts."""
    monkeypatch.setenv(variable, "3.9")
    assert [each.name for each in describe() if each.origin != "default"] == []


@given(
    service=st.from_regex(r"(SURGETANK)(_[A-Z0-9]{1,8}){0,3}", fullmatch=True),
    port_name=st.from_regex(r"[A-Z0-9](_?[A-Z0-9]){0,13}", fullmatch=True),
    port=st.integers(1, 65535),
    protocol=st.sampled_from(["TCP", "UDP", "SCTP"]),
)
def test_every_variable_of_the_documented_format_is_ignored(
    service: str, port_name: str, port: int, protocol: str
) -> None:
    """Any port, protocol and port name: none of the variables of a Service counts as a setting."""
    url = f"{protocol.lower()}://10.0.0.1:{port}"
    prefix = f"{service}_PORT_{port}_{protocol}"
    variables = {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": str(port),
        f"{service}_SERVICE_PORT_{port_name}": str(port),
        f"{service}_PORT": url,
        prefix: url,
        f"{prefix}_PROTO": protocol.lower(),
        f"{prefix}_PORT": str(port),
        f"{prefix}_ADDR": "10.0.0.1",
    }
    assert setting_variables(variables) == {}


def test_no_setting_is_taken_for_a_variable_of_kubernetes() -> None:
    """The variable of every setting is read, whatever its value looks like."""
    for each in describe():
        assert not is_service_variable(each.variable, "tcp://10.0.0.1:1")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("SURGETANK_WORKER_NAME", "SURGETANK_WORKER__NAME"),
        ("SURGETANK_BOOTSTRAP", "SURGETANK_KAFKA__BOOTSTRAP"),
        ("SURGETANK_PORT", "SURGETANK_TELEMETRY__PORT"),  # a number: Kubernetes would set a URL
        ("SURGETANK_TELEMETRY_PORT", "SURGETANK_TELEMETRY__PORT"),
        ("SURGETANK_WORKER__BATCHROWS", "SURGETANK_WORKER__BATCH_ROWS_MAX"),
        ("SURGETANK_WROKER__NAME", "SURGETANK_WORKER__NAME"),
        ("SURGETANK_KAFKA__BOOTSTRAP_SERVERS", "SURGETANK_KAFKA__BOOTSTRAP"),
        ("SURGETANK_PORT_8080_HTTP", None),
        ("SURGETANK_SERVICE_NAME", None),
        ("SURGETANK_XYZ", None),
    ],
)
def test_another_unknown_variable_is_refused_with_the_likely_one(variable: str, meant: str | None) -> None:
    """The error names the variable and, where one is likely, the setting's variable that was meant."""
    told = refusal(variable)
    assert told.startswith("unknown ")
    assert "\n" not in told
    assert told.endswith(f"; did you mean {meant}?") if meant else "did you mean" not in told


def test_every_unknown_variable_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wrong variables are told at once, also empty ones."""
    monkeypatch.setenv("SURGETANK_WORKER_NAME", "")
    assert len(refusal("SURGETANK_BATCH").splitlines()) == 2


def test_a_wrong_value_is_told_with_its_variable() -> None:
    """The line says which variable holds the wrong value."""
    assert refusal("SURGETANK_TELEMETRY__PORT", "x").endswith(" (variable SURGETANK_TELEMETRY__PORT)")


def test_a_wrong_name_in_the_file_is_refused_with_the_likely_one() -> None:
    """In the file the suggestion is the setting's name."""
    Path("surgetank.toml").write_text("[worker]\nbatch_rows = 1\n")
    with pytest.raises(
        SettingsError,
        match=r"known here: batch_kilobytes_max, batch_rows_max, .*; did you mean 'worker.batch_rows_max'\?$",
    ):
        load()


def test_a_variable_holds_one_value_and_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mapping is not read out of one variable, whose text is not shown: it may hold a password."""
    told = refusal("SURGETANK_KAFKA__CLIENT", '{"sasl.password": "hunter2"}')
    assert told.startswith("setting 'kafka.client' = '***' (from the environment): Input should be a valid dictionary")
    monkeypatch.setenv("SURGETANK_WORKER__NAME", '{"a": 1}')
    assert load().worker.name == '{"a": 1}'


def test_a_variable_below_another_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of two variables that cannot hold together is dropped in silence."""
    monkeypatch.setenv("SURGETANK_TELEMETRY__PORT", "1")
    assert "'telemetry.port.x' from the environment: 'port' is not a section" in refusal("SURGETANK_TELEMETRY__PORT__X")


@pytest.mark.parametrize("name", [each.name for each in describe() if each.name != OPTIONS] + ["kafka.client.sasl.x"])
def test_a_name_and_its_variable_stand_for_each_other(name: str) -> None:
    """Every setting, and an option of librdkafka, has one variable."""
    assert name_of(variable_of(name)) == name


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that names the setting; with XDG_STATE_HOME or the setting no home folder is needed."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    with pytest.raises(SettingsError, match=r"no home folder .*set state\.directory"):
        _ = StateSettings().folder
    assert StateSettings(directory=Path("state")).folder == Path("state")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/lib")
    assert StateSettings().folder == Path("/var/lib/surgetank")
