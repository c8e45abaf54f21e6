"""Secrets: which options are secret, that no output shows them, and that a command line may not hold them."""

import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from surgetank.cli.pipeline_argument import assigned
from surgetank.errors import SettingsError
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings, Settings, describe, load
from surgetank.settings.names import known_names
from surgetank.settings.secret_options import is_secret

PASSWORD = "hunter2"
SECRETS = [
    "sasl.password",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
]
PUBLIC = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.ca.location",
]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in an empty folder with no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SURGETANK_")]:
        monkeypatch.delenv(name)


def test_the_secret_options_of_librdkafka_are_known() -> None:
    """Passwords, keys, tokens and the configuration of a token are secret; names, places and addresses are not."""
    assert [each for each in SECRETS if not is_secret(each)] == []
    assert [each for each in PUBLIC if is_secret(each)] == []


def test_a_setting_that_is_secret_by_its_name_has_the_type_of_a_secret() -> None:
    """Its name alone would hide its value and not protect it."""
    sections = {name: type(field.default).model_fields for name, field in Settings.model_fields.items()}
    types = {f"{section}.{name}": field.annotation for section in sections for name, field in sections[section].items()}
    assert "http.token" in types
    assert [each for each in known_names() if is_secret(each) and types[each] != SecretStr | None] == []


@pytest.mark.parametrize("source", ["file", "environment", "token_file"])
def test_no_output_shows_the_token_of_the_http_endpoints(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, source: str
) -> None:
    """Neither a representation, nor ``surgetank settings``, nor the debug log of the library; the server gets it."""
    from surgetank.cli import app

    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    Path("token").write_text(f"{PASSWORD}\n")
    lines = {"file": f'token = "{PASSWORD}"', "token_file": 'token_file = "token"'}
    Path("surgetank.toml").write_text(f"[http]\n{lines.get(source, '')}\n")
    if source == "environment":
        monkeypatch.setenv("SURGETANK_HTTP__TOKEN", PASSWORD)
    with caplog.at_level(logging.DEBUG, logger="pydantic_settings"):
        settings = load()
    shown = CliRunner().invoke(app, ["settings"]).output
    assert PASSWORD not in f"{settings!r}{settings.model_dump_json()}{describe()}{shown}{caplog.text}"
    assert settings.http.bearer_token() == PASSWORD
    assert ("***" in shown) == (source != "token_file"), "an unset token is not shown as one"


def test_a_token_on_the_command_line() -> None:
    """``--set http.token`` names the variable, the section and the setting of its file."""
    with pytest.raises(SettingsError) as caught:
        assigned([f"http.token={PASSWORD}"])
    told = str(caught.value)
    assert "set SURGETANK_HTTP__TOKEN in the environment" in told
    assert '"token" below [http] in the settings file; or name its file: --set http.token_file=FILE' in told
    assert PASSWORD not in told


def test_a_wrong_section_of_the_http_endpoints_does_not_repeat_the_token() -> None:
    """The error shows what was given, with stars for the token."""
    Path("surgetank.toml").write_text(f'[http]\ntoken = "{PASSWORD}"\ntoken_file = "token"\n')
    with pytest.raises(SettingsError, match=r"http\.token and http\.token_file are both set") as caught:
        load()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("option", SECRETS)
@pytest.mark.parametrize("source", ["file", "environment", "constructor"])
def test_a_secret_is_a_type_of_its_own_from_every_source(
    monkeypatch: pytest.MonkeyPatch, source: str, option: str
) -> None:
    """No representation of the settings holds it; the client gets it."""
    settings = Settings(kafka=KafkaSettings(client={option: PASSWORD}))
    if source == "file":
        Path("surgetank.toml").write_text(f'[kafka.client]\n{option} = "{PASSWORD}"\n')
        settings = load()
    if source == "environment":
        monkeypatch.setenv(f"SURGETANK_KAFKA__CLIENT__{option.replace('.', '_').upper()}", PASSWORD)
        settings = load()
    kafka = settings.kafka
    assert isinstance(kafka.client[option], SecretStr)
    for shown in (repr(settings), str(settings), repr(kafka), repr(kafka.client), settings.model_dump_json()):
        assert PASSWORD not in shown
    assert kafka.client_options() == {option: PASSWORD}
    assert clients.common(kafka)[option] == PASSWORD


def test_a_secret_goes_with_the_settings_to_another_process() -> None:
    """Settings that were pickled still have their secrets, and still hide them."""
    kafka = pickle.loads(pickle.dumps(KafkaSettings(client={"sasl.password": PASSWORD})))
    assert kafka.client_options() == {"sasl.password": PASSWORD}
    assert PASSWORD not in repr(kafka)


def test_options_that_are_no_secret_stay_readable() -> None:
    """Only secrets are hidden: a wrong mechanism or path must be seen."""
    kafka = KafkaSettings(client={"sasl.mechanism": "PLAIN", "ssl.key.location": "/tls/key.pem"})
    assert kafka.client == {"sasl.mechanism": "PLAIN", "ssl.key.location": "/tls/key.pem"}


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--changed"]])
def test_the_command_shows_no_secret(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """``surgetank settings`` prints stars for it, in every form."""
    from surgetank.cli import app

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("SURGETANK_KAFKA__CLIENT__SASL_OAUTHBEARER_CONFIG", f"secret={PASSWORD}")
    result = CliRunner().invoke(app, ["settings", *arguments])
    assert result.exit_code == 0, result.output
    assert "***" in result.output
    assert PASSWORD not in result.output
    assert PASSWORD not in str(describe())


def test_an_error_of_validation_does_not_repeat_what_was_given() -> None:
    """A value of a wrong type stays out of the message, its traceback included."""
    with pytest.raises(ValidationError) as caught:
        KafkaSettings.model_validate({"client": {"sasl.password": [PASSWORD]}})
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_the_debug_log_of_pydantic_settings_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With PYDANTIC_SETTINGS_DEBUG the library logs what each source gave: secrets are wrapped by then."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    monkeypatch.setenv("SURGETANK_KAFKA__CLIENT__SASL_PASSWORD", PASSWORD)
    Path("surgetank.toml").write_text(f'[kafka.client]\n"ssl.key.password" = "{PASSWORD}"\n')
    with caplog.at_level(logging.DEBUG, logger="pydantic_settings"):
        load({"kafka.client.ssl.key.pem": PASSWORD})
    assert "ssl.key.password" in caplog.text, "the library logs its sources"
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("option", SECRETS)
def test_a_secret_on_the_command_line(option: str) -> None:
    """``--set`` with a secret names the variable and the place in the file, and does not repeat the secret."""
    with pytest.raises(SettingsError) as caught:
        assigned([f"kafka.client.{option}={PASSWORD}"])
    told = str(caught.value)
    assert told.startswith(f"--set kafka.client.{option}: ")
    assert "list of processes" in told
    assert f"SURGETANK_KAFKA__CLIENT__{option.replace('.', '_').upper()}" in told
    assert f'"{option}" below [kafka.client] in the settings file' in told
    assert PASSWORD not in told


@pytest.mark.parametrize("written", [f"sasl.password={PASSWORD}", f"kafka.client.sasl.password {PASSWORD}"])
def test_a_secret_that_is_written_wrongly_is_not_repeated(written: str) -> None:
    """Without its section or without '=' it is refused as a secret too."""
    with pytest.raises(SettingsError, match="SURGETANK_KAFKA__CLIENT__SASL_PASSWORD") as caught:
        assigned([written])
    assert PASSWORD not in str(caught.value)


def test_other_options_may_be_set_on_the_command_line() -> None:
    """Options that are no secret, paths of keys among them, are taken."""
    wanted = {"kafka.client.sasl.mechanism": "PLAIN", "kafka.client.ssl.key.location": "/tls/key=1.pem"}
    assert assigned(f"{name}={value}" for name, value in wanted.items()) == wanted
    assert load(wanted).kafka.client_options()["ssl.key.location"] == "/tls/key=1.pem"


def test_the_worker_refuses_a_secret_before_anything_else() -> None:
    """The command line of a worker with a password ends with the advice."""
    from surgetank.cli import app

    result = CliRunner().invoke(app, ["worker", "flights", "--set", f"kafka.client.sasl.password={PASSWORD}"])
    assert isinstance(result.exception, SettingsError)
    assert result.exception.exit_code == 2


@pytest.mark.parametrize("option", SECRETS)
@pytest.mark.parametrize("source", ["file", "environment", "command line"])
def test_a_secret_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, source: str, option: str) -> None:
    """Its name is no secret and may stand on a command line; each new client reads the file again."""
    Path("secret").write_text(f"{PASSWORD}\n")
    flags = {}
    if source == "file":
        Path("surgetank.toml").write_text(f'[kafka.client]\n"{option}_file" = "secret"\n')
    if source == "environment":
        monkeypatch.setenv(f"SURGETANK_KAFKA__CLIENT__{option.replace('.', '_').upper()}_FILE", "secret")
    if source == "command line":
        flags = assigned([f"kafka.client.{option}_file=secret"])
    kafka = load(flags).kafka
    assert kafka.client == {f"{option}_file": "secret"}
    assert kafka.client_options() == {option: PASSWORD}
    Path("secret").write_text("changed")
    assert kafka.client_options() == {option: "changed"}


def test_an_option_of_librdkafka_that_ends_with_file_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is librdkafka that reads the file."""
    monkeypatch.setenv("SURGETANK_KAFKA__CLIENT__SASL_OAUTHBEARER_ASSERTION_PRIVATE_KEY_FILE", "key.pem")
    assert load().kafka.client_options() == {"sasl.oauthbearer.assertion.private.key.file": "key.pem"}


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), (b"", "the file is empty"), (b"\n", "the file is empty"), (b"\xff", "not UTF-8")],
)
def test_a_file_without_a_secret_is_named(content: bytes | None, says: str) -> None:
    """With the option that names it."""
    if content is not None:
        Path("secret").write_bytes(content)
    kafka = KafkaSettings(client={"sasl.password_file": "secret"})
    with pytest.raises(SettingsError, match=rf"kafka\.client\.sasl\.password_file: secret: .*{says}"):
        kafka.client_options()


def test_a_secret_and_its_file_are_not_both_taken() -> None:
    """Which one counts would be a guess."""
    Path("surgetank.toml").write_text(
        f'[kafka.client]\n"sasl.password" = "{PASSWORD}"\n"sasl.password_file" = "secret"\n'
    )
    with pytest.raises(SettingsError, match=r"sasl\.password and sasl\.password_file are both set") as caught:
        load()
    assert PASSWORD not in str(caught.value)
