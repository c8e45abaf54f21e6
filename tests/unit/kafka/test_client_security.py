"""Security options of a client are checked before it connects: what is missing, what has no effect, which file."""

from pathlib import Path

import pytest

from surgetank.errors import SettingsError
from surgetank.kafka.client_security import check_client_security, security_problems

SCRAM = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "alice",
    "sasl.password": "hunter2",
}
OIDC = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.token.endpoint.url": "https://login.example/token",
    "sasl.oauthbearer.client.id": "worker",
    "sasl.oauthbearer.client.secret": "hunter2",
}


def without(options: dict[str, str], name: str) -> dict[str, str]:
    """Return the options without one of them."""
    return {each: value for each, value in options.items() if each != name}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"security.protocol": "ssl"},
        {"security.protocol": "ssl", "ssl.ca.location": "probe"},
        {"security.protocol": "ssl", "ssl.keystore.location": "client.p12", "ssl.keystore.password": "p"},
        {"security.protocol": "ssl", "ssl.certificate.location": "c.pem", "ssl.key.location": "k.pem"},
        SCRAM,
        SCRAM | {"sasl.mechanism": "SCRAM-SHA-256"},
        SCRAM | {"sasl.mechanism": "PLAIN", "security.protocol": "sasl_plaintext"},
        without(SCRAM, "sasl.mechanism") | {"sasl.mechanisms": "PLAIN"},
        OIDC,
        {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "OAUTHBEARER",
            "enable.sasl.oauthbearer.unsecure.jwt": "true",
        },
        OIDC | {"sasl.oauthbearer.grant.type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.metadata.authentication.type": "azure_imds",
        },
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI"},
    ],
)
def test_options_that_fit_together_pass(options: dict[str, str]) -> None:
    """The open connection, TLS, mTLS, each mechanism."""
    assert list(security_problems(options, lambda _: None)) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"security.protocol": "tls"}, "security.protocol = 'tls': it is one of plaintext, ssl, "),
        ({"ssl.ca.location": "ca.pem"}, "ssl.ca.location has no effect with security.protocol = plaintext"),
        (SCRAM | {"security.protocol": "sasl_plaintext", "ssl.ca.location": "ca"}, "set it to sasl_ssl"),
        ({"sasl.username": "alice"}, "sasl.username has no effect with security.protocol = plaintext"),
        (SCRAM | {"security.protocol": "ssl"}, "sasl.mechanism has no effect with security.protocol = ssl"),
        (without(SCRAM, "sasl.mechanism"), "sasl.mechanism is not set: it is one of PLAIN, SCRAM-SHA-256"),
        (SCRAM | {"sasl.mechanism": "SCRAM"}, "sasl.mechanism = 'SCRAM': it is one of"),
        (without(SCRAM, "sasl.username"), "SCRAM-SHA-512 needs sasl.username, which is not set"),
        (without(SCRAM, "sasl.password"), "needs sasl.password, which is not set, and neither is sasl.password_file"),
        ({"security.protocol": "ssl", "ssl.key.location": "k"}, "without a certificate: set ssl.certificate.location"),
        ({"security.protocol": "ssl", "ssl.certificate.pem": "c"}, "without its key: set ssl.key.location"),
        (without(OIDC, "sasl.oauthbearer.method"), "OAUTHBEARER needs sasl.oauthbearer.method = oidc"),
        (without(OIDC, "sasl.oauthbearer.token.endpoint.url"), "needs sasl.oauthbearer.token.endpoint.url"),
        (without(OIDC, "sasl.oauthbearer.client.id"), "OAUTHBEARER needs sasl.oauthbearer.client.id"),
        (without(OIDC, "sasl.oauthbearer.client.secret"), "OAUTHBEARER needs sasl.oauthbearer.client.secret"),
    ],
)
def test_what_is_missing_or_has_no_effect_is_named(options: dict[str, str], says: str) -> None:
    """One sentence each; no secret in it."""
    (problem,) = security_problems(options, lambda _: None)
    assert says in problem
    assert "hunter2" not in problem


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    """All at once, with the option."""
    options = {
        "security.protocol": "ssl",
        "ssl.ca.location": f"{tmp_path}/ca.pem",
        "ssl.certificate.location": f"{tmp_path}",
        "ssl.key.location": f"{tmp_path}/key.pem",
    }
    with pytest.raises(SettingsError) as caught:
        check_client_security(options)
    assert str(caught.value).splitlines() == [
        f"kafka.client: ssl.ca.location = {tmp_path}/ca.pem: there is no such file",
        f"kafka.client: ssl.key.location = {tmp_path}/key.pem: there is no such file",
    ]
