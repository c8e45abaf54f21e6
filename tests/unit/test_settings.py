"""Settings: what wins, what is refused and how clearly, and what ``surgetank settings`` prints."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from surgetank.errors import SettingsError
from surgetank.settings import Settings, WorkerSettings, describe, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in an empty folder with no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SURGETANK_")]:
        monkeypatch.delenv(name)


def written(text: str, name: str = "surgetank.toml") -> Path:
    """Write a settings file into the current folder."""
    path = Path(name)
    path.write_text(text)
    return path


def refusal(flags: dict[str, Any] | None = None, *, file: Path | None = None) -> str:
    """Return the message of the SettingsError that loading raises."""
    with pytest.raises(SettingsError) as caught:
        load(flags, file=file)
    return str(caught.value)


def test_nothing_set_is_all_defaults() -> None:
    """Without file, variables and flags the defaults hold, and every setting says so."""
    assert load() == Settings()
    assert {each.origin for each in describe()} == {"default"}
    assert all(each.value == each.default for each in describe())


def test_flags_win_over_the_environment_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer wins over the one before it, setting by setting, and describe tells which."""
    written("[worker]\nbatch_rows_max = 1\nname = 'file'\nclose_deadline_seconds = 3")
    monkeypatch.setenv("SURGETANK_WORKER__BATCH_ROWS_MAX", "2")
    monkeypatch.setenv("SURGETANK_WORKER__NAME", "environment")
    flags = {"worker.batch_rows_max": 3, "kafka.bootstrap": None}
    worker = load(flags).worker
    assert (worker.batch_rows_max, worker.name, worker.close_deadline_seconds) == (3, "environment", 3.0)
    origins = {each.name: each.origin for each in describe(flags)}
    assert origins["worker.batch_rows_max"] == "the command line"
    assert origins["worker.name"] == "the environment"
    assert origins["worker.close_deadline_seconds"] == "surgetank.toml"
    assert origins["kafka.bootstrap"] == "default"


def test_a_section_with_two_words_is_set_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two underscores separate section and name; one belongs to a name."""
    monkeypatch.setenv("SURGETANK_DEAD_LETTERS__SHARE_MAX", "0.25")
    assert load().dead_letters.share_max == 0.25


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable, as compose files give, leaves the layer below in force."""
    written("[worker]\nbatch_rows_max = 1")
    monkeypatch.setenv("SURGETANK_WORKER__BATCH_ROWS_MAX", "")
    monkeypatch.setenv("SURGETANK_MODEL__DIRECTORY", "")
    monkeypatch.setenv("SURGETANK_CONFIG", "")
    assert load().worker.batch_rows_max == 1
    assert load().model.directory is None


def test_the_file_is_chosen_by_argument_then_variable_then_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit file beats SURGETANK_CONFIG, which beats surgetank.toml of the current folder."""
    written("[worker]\nname = 'folder'")
    assert load().worker.name == "folder"
    monkeypatch.setenv("SURGETANK_CONFIG", str(written("[worker]\nname = 'variable'", "a.toml")))
    assert load().worker.name == "variable"
    assert load(file=written("[worker]\nname = 'argument'", "b.toml")).worker.name == "argument"


def test_constructing_settings_reads_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ``load`` reads the file and the environment: settings made in code are what they were given."""
    defaults = Settings()
    written("[worker]\nname = 'file'")
    monkeypatch.setenv("SURGETANK_KAFKA__RESET", "latest")
    monkeypatch.setenv("SURGETANK_WORKER_NAME", "unknown")
    assert Settings() == defaults
    assert Settings(worker=WorkerSettings(name="w")).worker.name == "w"


def test_the_file_may_be_a_pipe() -> None:
    """A file that can be read only once, as a shell's process substitution gives, is read."""
    ours, theirs = os.pipe()
    os.write(theirs, b"[worker]\nname = 'pipe'")
    os.close(theirs)
    try:
        assert load(file=Path(f"/dev/fd/{ours}")).worker.name == "pipe"
    finally:
        os.close(ours)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "settings file it.toml: No such file or directory"),
        (b"[worker\n", "settings file it.toml: not TOML: "),
        (b"name = '\xff'", "settings file it.toml: not UTF-8: byte 8 is wrong"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    """Missing, malformed or not UTF-8: one line that names the file, by whatever means it was chosen."""
    path = Path("it.toml")
    if content is not None:
        path.write_bytes(content)
    assert refusal(file=path).startswith(message)
    monkeypatch.setenv("SURGETANK_CONFIG", str(path))
    assert refusal().startswith(message)
    assert "\n" not in refusal()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[worker]\nbatchrows = 1",
            "unknown setting 'worker.batchrows' (from surgetank.toml); known here: batch_kilobytes_max, ",
        ),
        (
            "[wroker]\nname = 'x'",
            "unknown setting 'wroker' (from surgetank.toml); known here: dead_letters, exporter, ",
        ),
        ("[wroker]", "unknown setting 'wroker' (from surgetank.toml)"),
        ("worker = 3", "setting 'worker' (from surgetank.toml) is a section; known in it: batch_kilobytes_max, "),
        (
            "[worker]\nbatch_rows_max = 'many'",
            "setting 'worker.batch_rows_max' = 'many' (from surgetank.toml): Input ",
        ),
        (
            "[worker]\nbatch_rows_max = 0",
            "setting 'worker.batch_rows_max' = 0 (from surgetank.toml): Input should be g",
        ),
        (
            "[worker]\nbatch_rows_max = 1.5",
            "setting 'worker.batch_rows_max' = 1.5 (from surgetank.toml): Input ",
        ),
        (
            "[worker]\nclose_deadline_seconds = inf",
            "setting 'worker.close_deadline_seconds' = inf (from surgetank.toml)",
        ),
        (
            "[worker]\nclose_deadline_seconds = nan",
            "setting 'worker.close_deadline_seconds' = nan (from surgetank.toml)",
        ),
        (
            "[kafka]\nbootstrap = 9092",
            "setting 'kafka.bootstrap' = 9092 (from surgetank.toml): Input should be a valid",
        ),
        (
            "[kafka]\nreset = 'middle'",
            "setting 'kafka.reset' = 'middle' (from surgetank.toml): Input should be 'earliest'",
        ),
        (
            "[kafka.bootstrap]\nhost = 'x'",
            "setting 'kafka.bootstrap' = {'host': 'x'} (from surgetank.toml): Input should",
        ),
        (
            "[kafka.client]\nretries = 3",
            "setting 'kafka.client.retries' = 3 (from surgetank.toml): Input should be a",
        ),
    ],
)
def test_a_wrong_file_is_one_clear_line(text: str, message: str) -> None:
    """Unknown names, wrong types, wrong ranges: setting, value, origin and what is allowed, on one line."""
    written(text)
    assert refusal().startswith(message)
    assert "\n" not in refusal()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "SURGETANK_WORKER__BATCHROWS",
            "1",
            "unknown setting 'worker.batchrows' (from the environment); known here: b",
        ),
        (
            "SURGETANK_WROKER__NAME",
            "1",
            "unknown setting 'wroker' (from the environment); known here: dead_letters, ",
        ),
        (
            "SURGETANK_WORKER_NAME",
            "x",
            "unknown variable 'SURGETANK_WORKER_NAME' in the environment; settings are SURG",
        ),
        (
            "SURGETANK_WORKER__BATCH_ROWS_MAX",
            "many",
            "setting 'worker.batch_rows_max' = 'many' (from the environment): ",
        ),
        (
            "SURGETANK_TELEMETRY__PORT",
            "65536",
            "setting 'telemetry.port' = '65536' (from the environment): Input shoul",
        ),
        (
            "SURGETANK_TELEMETRY__PORT__X",
            "1",
            "setting 'telemetry.port' = {'x': '1'} (from the environment): Input sho",
        ),
        (
            "SURGETANK_WORKER__CLOSE_DEADLINE_SECONDS",
            "inf",
            "setting 'worker.close_deadline_seconds' = 'inf' (from the",
        ),
    ],
)
def test_a_wrong_variable_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """The environment is held to the same rules as the file, and a single underscore is no silent miss."""
    monkeypatch.setenv(name, value)
    assert refusal().startswith(message)
    assert "\n" not in refusal()


def test_a_wrong_flag_is_one_clear_line() -> None:
    """A flag out of range is told as such."""
    assert refusal({"telemetry.port": -1}).startswith("setting 'telemetry.port' = -1 (from the command line): Input ")
    assert refusal({"telemetry.prot": 1}).startswith("unknown setting 'telemetry.prot' (from the command line)")


def test_a_setting_below_a_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that goes deeper than a value of the file names both."""
    written("[kafka]\nbootstrap = 'x:1'")
    monkeypatch.setenv("SURGETANK_KAFKA__BOOTSTRAP__HOST", "y")
    assert refusal() == "setting 'kafka.bootstrap.host' from the environment: 'bootstrap' is not a section"


def test_each_fault_gets_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three faults from three places are three lines, each with its origin."""
    written("[worker]\nbatchrows = 1")
    monkeypatch.setenv("SURGETANK_KAFKA__RESET", "middle")
    told = refusal({"telemetry.port": "x"}).splitlines()
    assert len(told) == 3
    for place in ("surgetank.toml", "the environment", "the command line"):
        assert sum(f"(from {place})" in line for line in told) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"model.call_deadline_seconds": 60},
            "model.call_deadline_seconds (60) must be below worker.stuck_deadline_",
        ),
        (
            {"kafka.transaction_timeout_seconds": 2, "worker.commit_interval_seconds": 2},
            "worker.commit_interval_seconds (2) must be below kafka.transaction_timeout_seconds (2), or",
        ),
        (
            {"kafka.heartbeat_interval_seconds": 7},
            "kafka.heartbeat_interval_seconds (7) must be below kafka.session_",
        ),
        ({"kafka.static_membership": True}, "kafka.static_membership needs worker.name"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, Any], message: str) -> None:
    """Two settings that cannot hold together are named together, with the reason."""
    assert refusal(dict(flags)).startswith(f"settings: {message}")


def test_kafka_options_are_merged_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of librdkafka keep their dots; a password from the environment joins what the file says."""
    written('[kafka.client]\n"security.protocol" = "SASL_SSL"\nsasl.mechanism = "PLAIN"\nsasl.password = "old"')
    monkeypatch.setenv("SURGETANK_KAFKA__CLIENT__SASL_PASSWORD", "new")
    expected = {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.password": "new"}
    assert load().kafka.client_options() == expected
    assert load().kafka.client["sasl.password"] == SecretStr("new")
    told = {each.name: each for each in describe()}["kafka.client"]
    assert told.value == expected | {"sasl.password": "***"}
    assert told.origin == "surgetank.toml + the environment"


@pytest.mark.parametrize(
    "option",
    [
        "sasl.password",
        "ssl.key.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "ssl.key.pem",
    ],
)
def test_secrets_are_never_shown(option: str) -> None:
    """Neither the list of settings, nor the settings as text, nor an error message holds a secret."""
    shown = str(describe({f"kafka.client.{option}": "hunter2"}))
    assert "***" in shown
    assert "hunter2" not in shown
    assert "***" in refusal({f"kafka.client.{option}": 271828})
    assert "271828" not in refusal({f"kafka.client.{option}": 271828})
    settings = load({f"kafka.client.{option}": "hunter2"})
    assert settings.kafka.client_options()[option] == "hunter2"
    assert "hunter2" not in f"{settings} {settings!r} {settings.kafka.client} {settings.kafka.client!r}"


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 10**9),
    name=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
    share=st.floats(0, 1, exclude_min=True),
)
def test_what_is_set_in_the_environment_is_what_is_read(rows: int, name: str, share: float) -> None:
    """Every allowed value survives the way through a variable."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SURGETANK_WORKER__BATCH_ROWS_MAX", str(rows))
        environment.setenv("SURGETANK_WORKER__NAME", name)
        environment.setenv("SURGETANK_DEAD_LETTERS__SHARE_MAX", repr(share))
        found = load()
    assert (found.worker.batch_rows_max, found.worker.name, found.dead_letters.share_max) == (
        rows,
        name,
        share,
    )


def test_every_setting_says_what_it_is_and_how_to_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting has a description, and its variable, set to its default, is accepted."""
    listed = describe()
    assert {each.name.split(".")[0] for each in listed} == set(Settings.model_fields)
    assert [each.name for each in listed if not each.description] == []
    for each in listed:
        if "<" not in each.variable:
            monkeypatch.setenv(each.variable, "" if each.default is None else str(each.default))
    assert load() == Settings()


def test_identities_differ_unless_they_are_set() -> None:
    """A worker without a name gets one that no other process has."""
    assert Settings().identity != Settings().identity
    assert load({"worker.name": "w-1"}).identity == "w-1"


@pytest.fixture
def command() -> typer.Typer:
    """The command line, as installed."""
    from surgetank.cli import app

    return app


def test_the_command_prints_every_setting(command: typer.Typer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has each setting with its value and where it came from."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SURGETANK_WORKER__NAME", "w-[1]")
    result = CliRunner().invoke(command, ["settings"])
    assert result.exit_code == 0, result.output
    assert all(each.name in result.output for each in describe())
    line = next(line for line in result.output.splitlines() if "worker.name" in line)
    assert "w-[1]" in line
    assert "the environment" in line


def test_the_command_gives_scripts_json(command: typer.Typer) -> None:
    """--json is one object by name with typed values; --changed leaves only what differs."""
    written("[worker]\nbatch_rows_max = 5")
    result = CliRunner().invoke(command, ["settings", "--json", "--changed"])
    told = json.loads(result.output)
    assert list(told) == ["worker.batch_rows_max"]
    assert told["worker.batch_rows_max"] | {"description": ""} == {
        "name": "worker.batch_rows_max",
        "value": 5,
        "default": 8192,
        "origin": "surgetank.toml",
        "variable": "SURGETANK_WORKER__BATCH_ROWS_MAX",
        "description": "",
    }
    whole = json.loads(CliRunner().invoke(command, ["settings", "--json"]).output)
    assert list(whole) == [each.name for each in describe()]


def test_the_command_refuses_what_a_worker_would_refuse(command: typer.Typer) -> None:
    """A wrong file raises the error that the console script turns into one line and exit status 2."""
    result = CliRunner().invoke(command, ["settings", "--config", str(written("[worker]\nx = 1", "it.toml"))])
    assert isinstance(result.exception, SettingsError)
    assert result.exception.exit_code == 2
    assert "unknown setting 'worker.x' (from it.toml)" in str(result.exception)
