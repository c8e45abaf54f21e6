"""What the webhook answers without Kafka: which requests it takes, and when Alertmanager is to post again."""

import http.client
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from surgetank import Events, Field, Pipeline, Scores
from surgetank.errors import StartupError
from surgetank.http import alertmanager_webhook as module
from surgetank.http.alertmanager_webhook import BODY_BYTES_MAX, AlertmanagerWebhook
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.settings import HttpSettings, KafkaSettings

OPEN = EndpointSecurity(HttpSettings())
PATIENCE = 30.0
NOWHERE = KafkaSettings(bootstrap="127.0.0.1:1")
PIPELINE = Pipeline(
    name="payments",
    events=Events("payments.events", schema="payment", key="card", time="at"),
    features=(Field("amount"),),
    model="m",
    scores=Scores("payments.scores"),
)
ALERT = {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-01-05T12:00:00Z"}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve a webhook whose Kafka is away; return its port."""
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.1)
    with AlertmanagerWebhook(NOWHERE, PIPELINE, host="127.0.0.1", port=0, security=OPEN) as webhook:
        yield int(urlsplit(webhook.url).port or 0)


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    """Return status and what is said."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()).get("said")
    finally:
        connection.close()


def test_paths_and_methods_are_told_apart(port: int) -> None:
    """/live answers, alerts are posted to /alerts, the rest is told so."""
    assert ask(port, "GET", "/live") == (200, "alive")
    assert ask(port, "GET", "/alerts") == (404, "post alerts to /alerts; /live answers")
    assert ask(port, "POST", "/live", b"{}") == (404, "post alerts to /alerts")
    assert ask(port, "PUT", "/alerts", b"{}")[0] == 501


def test_a_body_without_a_length_or_sense_is_refused(port: int) -> None:
    """None of it is repeated by Alertmanager: a 4xx is for good."""
    assert ask(port, "POST", "/alerts", b"{}")[0] == 400
    assert ask(port, "POST", "/alerts", b"no JSON") == (400, "not JSON: Expecting value: line 1 column 1 (char 0)")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", "/alerts", iter([b"{}"]))  # in chunks
    assert connection.getresponse().status == 411
    connection.close()


def test_a_body_too_long_is_refused_before_it_is_sent(port: int) -> None:
    """Its length is enough to know; nothing of it is read."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.send(f"POST /alerts HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends its head and no body is told so, and other requests are answered meanwhile."""
    monkeypatch.setattr(module, "BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.send(b"POST /alerts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert ask(port, "GET", "/live")[0] == 200
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


def test_bodies_of_all_requests_together_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound Alertmanager is to come again; what was held is let go."""
    monkeypatch.setattr(module, "BODIES_BYTES_MAX", 1000)
    assert ask(port, "POST", "/alerts", b" " * 1001)[0] == 503
    assert ask(port, "POST", "/alerts", b" " * 999)[0] == 400


def test_an_alert_without_the_token_of_the_webhook() -> None:
    """401 before its body is read; with the token it is answered, and /live needs none."""
    own = EndpointSecurity(HttpSettings(token=SecretStr("t")))
    with AlertmanagerWebhook(NOWHERE, PIPELINE, host="127.0.0.1", port=0, security=own) as webhook:
        port = int(urlsplit(webhook.url).port or 0)
        assert ask(port, "POST", "/alerts", b"no JSON")[0] == 401
        assert ask(port, "POST", "/alerts", b"no JSON", Authorization="Bearer t")[0] == 400
        assert ask(port, "GET", "/live")[0] == 200


def test_without_kafka_alertmanager_is_to_post_again(port: int) -> None:
    """503 until it is written; an alert of another pipeline needs no writing."""
    assert ask(port, "POST", "/alerts", json.dumps({"alerts": [ALERT]}).encode())[0] == 503
    other = ALERT | {"labels": {"alertname": "A", "pipeline": "flights"}}
    assert ask(port, "POST", "/alerts", json.dumps({"alerts": [other]}).encode()) == (200, "0 of 0 are new")


def test_a_taken_port_is_one_clear_error(port: int) -> None:
    """It names the option that helps."""
    with pytest.raises(StartupError, match=rf"cannot listen on 127.0.0.1:{port}: .*--port"):
        AlertmanagerWebhook(NOWHERE, PIPELINE, host="127.0.0.1", port=port, security=OPEN)
