"""Token, TLS and certificates of clients over real connections, renewed files, and settings that are refused."""

import http.client
import json
import logging
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from surgetank.clock import SystemClock
from surgetank.errors import SettingsError
from surgetank.http import connections, server, tls_listener
from surgetank.http.endpoint_security import EndpointSecurity, client_access
from surgetank.http.http_get import answer, get
from surgetank.http.monitoring import monitoring_server
from surgetank.http.server import HttpServer
from surgetank.settings import HttpSettings, TelemetrySettings
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from tests.support.endpoint_certificates import AUTHORITY, FOLDER, tls

PATIENCE = 30.0  # of a test, never of the thing that is tested
TOKEN = "a-token"

Serve = Callable[[HttpSettings], HttpServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the monitoring endpoints of a process with these settings, which is live and not ready."""
    with ExitStack() as running:

        def start(settings: HttpSettings) -> HttpServer:
            health = Health(SystemClock(), ("model",))
            made = monitoring_server(TelemetrySettings(), Metrics(), health, EndpointSecurity(settings))
            return running.enter_context(made)

        yield start


def asked(url: str, path: str, settings: HttpSettings | None = None) -> tuple[int, Any]:
    """Return status and body of a request with the token and the certificate of these settings."""
    reply = get(f"{url}{path}", PATIENCE, client_access(settings or HttpSettings()))
    assert reply is not None
    return reply.status, json.loads(reply.body)


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds and return what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return found


def served_name(port: int) -> str:
    """Return the common name of the certificate that a server shows."""
    trusting = ssl.create_default_context(cafile=str(AUTHORITY))
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        certificate: Any = secured.getpeercert()
        (((_, name),),) = certificate["subject"]
        return str(name)


def test_a_request_without_the_token(serve: Serve) -> None:
    """401 with a sentence for every path, also for one that does not exist; with the token it is answered."""
    running = serve(HttpSettings(token=SecretStr(TOKEN)))
    for path in ("/metrics", "/v1/flights/predictions/a", "/", "/nothing"):
        with pytest.raises(SettingsError, match=r"status 401: .*send the header Authorization: Bearer TOKEN"):
            asked(running.url, path)
    with pytest.raises(SettingsError, match=r"status 401: .*the bearer token is not the one of this server"):
        asked(running.url, "/metrics", HttpSettings(token=SecretStr("another")))
    own = client_access(HttpSettings(token=SecretStr(TOKEN)))
    assert "surgetank_ready" in (answer(f"{running.url}/metrics", PATIENCE, own) or "")
    assert asked(running.url, "/nothing", HttpSettings(token=SecretStr(TOKEN)))[0] == 404


def test_the_answer_without_a_token_names_the_scheme(serve: Serve) -> None:
    """As RFC 6750 demands, so that a client of any kind knows what is missing."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", serve(HttpSettings(token=SecretStr(TOKEN))).port, timeout=PATIENCE
    )
    connection.request("GET", "/metrics")
    reply = connection.getresponse()
    assert (reply.status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
    connection.close()


def test_a_probe_needs_no_token_and_sees_no_details(serve: Serve) -> None:
    """The status is that of the checks, which only the token shows."""
    running = serve(HttpSettings(token=SecretStr(TOKEN)))
    for path, status in (("/live", 200), ("/ready", 503)):
        code, body = asked(running.url, path)
        assert (code, list(body)) == (status, ["error"])
        assert asked(running.url, path, HttpSettings(token=SecretStr(TOKEN)))[0] == status
    assert "failing" in asked(running.url, "/ready", HttpSettings(token=SecretStr(TOKEN)))[1]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_is_served_from_version_1_2_on(serve: Serve) -> None:
    """A client that knows no later one than 1.1 is refused, as is one without TLS."""
    running = serve(tls())
    assert running.url == f"https://127.0.0.1:{running.port}"
    assert asked(running.url, "/live", tls()) == (200, {"live": True, "failing": []})
    old = ssl.create_default_context(cafile=str(AUTHORITY))
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")
    assert get(f"http://127.0.0.1:{running.port}/live", PATIENCE) is None


def test_an_endpoint_of_an_unknown_authority(serve: Serve) -> None:
    """The client names the setting; so it does for another name in the certificate, except on this machine."""
    running = serve(tls("elsewhere"))
    assert asked(running.url, "/live", HttpSettings(ca_file=AUTHORITY))[0] == 200
    for stranger in (HttpSettings(), HttpSettings(ca_file=FOLDER / "another-ca.pem")):
        with pytest.raises(SettingsError, match=r"certificate of https://127.0.0.1:\d+ is refused: .*http.ca_file"):
            asked(running.url, "/live", stranger)
    access = client_access(HttpSettings(ca_file=AUTHORITY))
    assert access.context("10.1.2.3").check_hostname
    assert access.context("10.1.2.3").verify_mode == access.context("127.0.0.1").verify_mode == ssl.CERT_REQUIRED


def test_a_request_without_the_certificate_of_a_client(serve: Serve) -> None:
    """403 except for the status of probes; a certificate of another authority does not get so far."""
    running = serve(tls(client_ca_file=AUTHORITY, token=TOKEN))
    plain = HttpSettings(ca_file=AUTHORITY, token=SecretStr(TOKEN))
    assert asked(running.url, "/live", plain)[0] == 200
    with pytest.raises(SettingsError, match=r"status 403: .*requires a certificate of the client"):
        asked(running.url, "/metrics", plain)
    assert get(f"{running.url}/live", PATIENCE, client_access(tls("stranger"))) is None
    with pytest.raises(SettingsError, match=r"status 401: "):
        asked(running.url, "/nothing", tls("renewed"))
    assert asked(running.url, "/nothing", tls("renewed", token=TOKEN))[0] == 404


def test_renewed_certificates_and_tokens_are_used_without_a_restart(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """New connections see them; a certificate whose key is not there yet changes nothing, and is logged once."""
    monkeypatch.setattr(server, "CHECK_SECONDS", 0.01)
    own: dict[str, Any] = {
        "cert_file": tmp_path / "tls.crt",
        "key_file": tmp_path / "tls.key",
        "token_file": tmp_path / "token",
    }

    def put(name: str, *kinds: str) -> None:
        for kind, file in (("pem", "tls.crt"), ("key", "tls.key")):
            if kind in kinds:
                shutil.copy(FOLDER / f"{name}.{kind}", tmp_path / f"{file}.new")
                (tmp_path / f"{file}.new").rename(tmp_path / file)

    put("server", "pem", "key")
    (tmp_path / "token").write_text("old\n")
    running = serve(HttpSettings(**own))
    assert served_name(running.port) == "server"
    with caplog.at_level(logging.WARNING):
        put("renewed", "pem")
        eventually(lambda: "is not the key of http.cert_file" in caplog.text)
        assert served_name(running.port) == "server"
        put("renewed", "key")
        eventually(lambda: served_name(running.port) == "renewed")
        (tmp_path / "token").write_text("new\n")
        new = HttpSettings(ca_file=AUTHORITY, token=SecretStr("new"))

        def taken() -> bool:
            with suppress(SettingsError):
                return asked(running.url, "/nothing", new)[0] == 404
            return False

        eventually(taken)
        with pytest.raises(SettingsError, match="401"):
            asked(running.url, "/nothing", HttpSettings(ca_file=AUTHORITY, token=SecretStr("old")))
    assert caplog.text.count("is not the key of http.cert_file") == 1


def test_a_certificate_expires_while_it_serves() -> None:
    """The sentence comes at the first look after it, and no second time."""
    security = EndpointSecurity(tls())
    after = ssl.cert_time_to_seconds("Jan  1 00:00:01 2120 GMT")
    assert security.renew(after - 2) == ""
    assert "has expired: clients refuse it until it is renewed" in security.renew(after)
    assert security.renew(after + 10) == ""


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (tls("expired"), "http.cert_file: .*expired.pem: certificate has expired; renew it"),
        (tls(key_file=FOLDER / "renewed.key"), "http.key_file: .*renewed.key is not the key of http.cert_file"),
        (tls(key_file=FOLDER / "encrypted.key"), "are not a certificate and its key in PEM without a password"),
        (tls(cert_file=FOLDER / "README.md"), "are not a certificate and its key in PEM without a password"),
        (tls(cert_file=Path("/nowhere.pem")), "http.cert_file: /nowhere.pem: No such file"),
        (tls(key_file=Path("/nowhere.key")), "http.key_file: /nowhere.key: No such file"),
        (tls(ca_file=FOLDER / "README.md"), "http.ca_file: .*README.md has no certificates in PEM"),
        (tls(client_ca_file=FOLDER / "README.md"), "http.client_ca_file: .*README.md has no certificates in PEM"),
        (HttpSettings(token_file=Path("/nowhere")), "http.token_file: /nowhere: No such file"),
        (HttpSettings(token_file=Path("/dev/null")), "http.token_file: /dev/null: the file is empty"),
        (HttpSettings(token=SecretStr("two words")), "http.token: a token is one word of visible ASCII characters"),
        (HttpSettings(token=SecretStr("")), "http.token: a token is one word of visible ASCII characters"),
    ],
)
def test_a_certificate_or_token_of_an_endpoint_cannot_be_used(settings: HttpSettings, says: str) -> None:
    """Refused at the start, with the setting and the file."""
    with pytest.raises(SettingsError, match=says):
        EndpointSecurity(settings)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"token": "a", "token_file": "b"}, "http.token and http.token_file are both set"),
        ({"cert_file": "a"}, "http.cert_file without its key"),
        ({"key_file": "a"}, "http.key_file without a certificate"),
        ({"client_ca_file": "a"}, "http.client_ca_file has no effect without TLS"),
    ],
)
def test_settings_of_endpoints_that_do_not_fit_are_refused(given: dict[str, str], says: str) -> None:
    """None of them would protect what it seems to protect."""
    with pytest.raises(ValueError, match=says):
        HttpSettings.model_validate(given)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_token_without_tls_on_a_public_address(host: str) -> None:
    """Refused before the port is bound; with TLS, or without a token, it is taken."""
    security = EndpointSecurity(HttpSettings(token=SecretStr(TOKEN)))
    with pytest.raises(SettingsError, match=f"cross the network in clear text, because they listen on {host} without"):
        monitoring_server(TelemetrySettings(host=host), Metrics(), Health(SystemClock()), security)
    for accepted in (tls(token=TOKEN), HttpSettings()):
        EndpointSecurity(accepted).check_exposure(host)


def test_clients_that_begin_no_tls_lock_nobody_out_and_are_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all handshakes held by silent clients /live answers, the oldest is cut for it, the others are in time."""
    monkeypatch.setattr(tls_listener, "HANDSHAKES_MAX", 8)
    monkeypatch.setattr(tls_listener, "REQUEST_SECONDS", 10 * PATIENCE)
    running = serve(tls())
    silent = [socket.create_connection(("127.0.0.1", running.port), PATIENCE) for _ in range(8)]
    try:
        for _ in range(20):
            assert asked(running.url, "/live", tls())[0] == 200
        with suppress(ConnectionResetError):
            assert silent[0].recv(1) == b""
        monkeypatch.setattr(tls_listener, "REQUEST_SECONDS", 0.2)
        with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as late, suppress(ConnectionResetError):
            assert late.recv(1) == b""
    finally:
        for each in silent:
            each.close()


def test_a_client_that_sends_no_request_over_tls_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a request begins anew after the handshake."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    running = serve(tls())
    trusting = ssl.create_default_context(cafile=str(AUTHORITY))
    with (
        socket.create_connection(("127.0.0.1", running.port), PATIENCE) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        suppress(ConnectionResetError, ssl.SSLError),
    ):
        secured.send(b"GET /live HTTP/1.1\r\nHost: x\r\n")
        assert secured.recv(1) == b""


def test_the_documented_probe_of_docker_works_with_tls(serve: Serve) -> None:
    """The command of docs/operating.md ends with status 0 for 200, and with another one for 503."""
    running = serve(tls(token=TOKEN))
    (line,) = re.findall(r"^ *test: (\[.*\])$", (FOLDER.parents[2] / "docs" / "operating.md").read_text(), re.MULTILINE)
    _, _, *command = json.loads(line)
    for path, good in (("live", True), ("ready", False)):
        script = command[1].replace("localhost:8080/ready", f"127.0.0.1:{running.port}/{path}")
        done = subprocess.run([sys.executable, command[0], script], capture_output=True, check=False, timeout=PATIENCE)
        assert (done.returncode == 0) == good


def test_endless_headers_are_refused(serve: Serve) -> None:
    """The server answers 400 or cuts the connection; it does not gather them."""
    running = serve(HttpSettings())
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as client, suppress(OSError):
        client.send(b"GET /live HTTP/1.1\r\nHost: x\r\n")
        for number in range(100_000):
            client.sendall(b"X-%d: %s\r\n" % (number, b"a" * 1000))
        pytest.fail("a hundred megabytes of headers were taken")


def test_a_stop_does_not_wait_for_handshakes(serve: Serve) -> None:
    """A client that never begins its handshake is cut by the stop."""
    running = serve(tls())
    with socket.create_connection(("127.0.0.1", running.port), PATIENCE) as silent:
        assert asked(running.url, "/live", tls())[0] == 200
        running.stop()
        with suppress(ConnectionResetError):
            assert silent.recv(1) == b""
