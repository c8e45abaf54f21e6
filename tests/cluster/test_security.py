"""Clients of a secured Kafka: SCRAM over TLS, certificates of clients, tokens, and the commands with their settings."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from surgetank.errors import SettingsError
from surgetank.kafka import clients
from surgetank.settings import KafkaSettings
from tests.support.secured_kafka import SecuredKafka, secured


@pytest.fixture(scope="module")
def brokers(clusters: Path) -> Iterator[SecuredKafka]:
    """Return a broker that starts with ``--security scram-tls`` and has further listeners."""
    with secured(clusters / "secured") as running:
        yield running


def answers(bootstrap: str, options: dict[str, str]) -> bool:
    """Return whether the broker answers a client with these options."""
    return bool(clients.admin(KafkaSettings(bootstrap=bootstrap, client=options)).list_topics(timeout=10).brokers)


def refusal(bootstrap: str, options: dict[str, str]) -> str:
    """Return the message for a client that the broker does not let in."""
    admin = clients.admin(KafkaSettings(bootstrap=bootstrap, client=options))
    with pytest.raises(KafkaException) as caught:
        admin.list_topics(timeout=2)
    return str(admin.failure("no answer", caught.value))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_scram_over_tls(brokers: SecuredKafka, mechanism: str) -> None:
    """Both mechanisms, with the password that the settings file of the user has; another one is refused."""
    admin = brokers.admin
    options = admin.client_options() | {"sasl.mechanism": mechanism}
    assert answers(admin.bootstrap, options)
    said = refusal(admin.bootstrap, options | {"sasl.password": "wrong"})
    assert "correct sasl.username and sasl.password below kafka.client" in said


def test_a_client_without_its_certificate(brokers: SecuredKafka) -> None:
    """A listener that requires one takes clients with a certificate of its authority, and refuses an expired one."""
    options = {"security.protocol": "ssl", "ssl.ca.location": str(brokers.authority)}
    own = {"ssl.keystore.location": str(brokers.client_store), "ssl.keystore.password": brokers.store_password}
    assert answers(brokers.mutual, options | own)
    expired = own | {"ssl.keystore.location": str(brokers.client_store.with_name("expired.p12"))}
    for refused in (options, options | expired):
        assert "the broker requires a certificate of the client, or refuses it" in refusal(brokers.mutual, refused)


def test_a_store_of_certificates_with_another_password(brokers: SecuredKafka) -> None:
    """Refused before a connection, with the option."""
    own = {"ssl.keystore.location": str(brokers.client_store), "ssl.keystore.password": "wrong"}
    with pytest.raises(SettingsError, match=r"ssl\.keystore\.location PKCS#12 file"):
        answers(brokers.mutual, {"security.protocol": "ssl"} | own)


def test_a_token_endpoint_that_refuses_the_client(brokers: SecuredKafka, token_endpoint: str) -> None:
    """librdkafka gets a token by OpenID Connect with the client's id and secret, and logs in with it."""
    options = {
        "security.protocol": "sasl_plaintext",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": token_endpoint,
        "sasl.oauthbearer.client.id": "worker",
        "sasl.oauthbearer.client.secret": "right",
    }
    assert answers(brokers.token, options)
    said = refusal(brokers.token, options | {"sasl.oauthbearer.client.secret": "wrong"})
    assert "invalid_client" in said
    assert "correct sasl.oauthbearer.* below kafka.client" in said


@pytest.fixture
def token_endpoint() -> Iterator[str]:
    """Return the address of an endpoint that gives unsigned tokens to the client ``worker`` with its secret."""

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known = self.headers.get("Authorization") == f"Basic {base64.b64encode(b'worker:right').decode()}"
            now = time.time()
            claims = {"sub": "worker", "iat": now, "exp": now + 3600}
            token = ".".join(
                base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                for part in ({"alg": "none"}, claims)
            )
            body = {"access_token": f"{token}."} if known else {"error": "invalid_client"}
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()
