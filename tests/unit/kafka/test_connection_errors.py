"""The cause and the advice for a request that no broker answered, from the errors of the connections."""

import pytest
from confluent_kafka import KafkaError

from surgetank.kafka.connection_errors import connection_failure

_TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "Failed to get metadata: Local: Timed out")


@pytest.mark.parametrize("alert", ["bad certificate", "certificate unknown", "certificate expired", "unknown ca"])
def test_an_alert_about_the_certificate_of_the_client_is_not_taken_for_a_wrong_port(alert: str) -> None:
    """OpenSSL calls it a failed handshake or a failed reception, by the version of TLS."""
    for text in (
        f"SSL handshake failed: error:0A000412: tlsv13 alert {alert}",
        f"Receive failed: tls alert {alert}: 42",
    ):
        seen = [KafkaError(KafkaError._TRANSPORT, f"ssl://127.0.0.1:9092/bootstrap: {text} (after 1ms in state UP)")]
        said = connection_failure("127.0.0.1:9092", _TIMED_OUT, seen)
        assert "requires a certificate of the client, or refuses it" in said
        assert f"alert {alert}" in said


def test_a_token_that_cannot_be_had_is_not_called_a_wrong_password() -> None:
    """The endpoint's own words are in it."""
    text = 'Failed to acquire SASL OAUTHBEARER token: {"error": "invalid_client"}'
    said = connection_failure("127.0.0.1:9092", _TIMED_OUT, [KafkaError(KafkaError._AUTHENTICATION, text)])
    assert "invalid_client" in said
    assert "correct sasl.oauthbearer.* below kafka.client" in said
    assert "sasl.password" not in said
