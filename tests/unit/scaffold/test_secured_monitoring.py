"""Prometheus and Alertmanager with the token and the TLS of the HTTP endpoints."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner

from surgetank.cli import app
from surgetank.scaffold.monitoring_files import monitoring_files
from surgetank.scaffold.secured_monitoring import SECURED, with_access
from surgetank.settings import HttpSettings
from tests.support.endpoint_certificates import AUTHORITY, tls

MUTUAL = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}


def written(http: HttpSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both configurations with the access of these settings."""
    files = monitoring_files()
    prometheus, alertmanager = (yaml.safe_load(with_access(name, files[name].read_text(), http)) for name in SECURED)
    return prometheus, alertmanager


@pytest.mark.parametrize(
    ("http", "scheme", "access"),
    [
        (HttpSettings(token=SecretStr("t")), "http", {"authorization": {"credentials_file": "token"}}),
        (tls(), "https", {"tls_config": {"ca_file": "ca.pem"}}),
        (
            tls(token_file=Path("t"), client_ca_file=AUTHORITY),
            "https",
            {"authorization": {"credentials_file": "token"}, "tls_config": MUTUAL},
        ),
    ],
)
def test_every_job_and_the_webhook_have_token_and_tls(http: HttpSettings, scheme: str, access: dict[str, Any]) -> None:
    """Nothing else of the files changes."""
    plain_prometheus, plain_alertmanager = written(HttpSettings())
    prometheus, alertmanager = written(http)
    for job in prometheus["scrape_configs"]:
        assert job.pop("scheme", "http") == scheme
        assert {name: job.pop(name) for name in access} == access
    assert prometheus == plain_prometheus
    (hook,) = next(each for each in alertmanager["receivers"] if each["name"] == "timeline")["webhook_configs"]
    assert hook["url"] == f"{scheme}://timeline:9099/alerts"
    assert hook.pop("http_config") == access
    hook["url"] = "http://timeline:9099/alerts"
    assert alertmanager == plain_alertmanager


def test_the_command_says_which_files_it_does_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is copied nowhere; the lines name what Prometheus and Alertmanager need."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SURGETANK_HTTP__TOKEN", "very-secret")
    result = CliRunner().invoke(app, ["monitoring", "ops"])
    assert result.exit_code == 0, result.output
    assert "put into ops/prometheus/token and ops/alertmanager/token: the token (http.token)" in result.output
    assert "credentials_file: token" in Path("ops/prometheus/prometheus.yml").read_text()
    files = [path.read_text() for path in Path("ops").rglob("*") if path.is_file()]
    assert not any("very-secret" in text for text in [result.output, *files])
