"""Checks the security options of Kafka clients before the first connection.

librdkafka takes a password without SASL and certificates without TLS in silence, and would connect in the open.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from surgetank.errors import SettingsError

_TLS = {"plaintext": False, "ssl": True, "sasl_plaintext": False, "sasl_ssl": True}
_PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MECHANISMS = (*_PASSWORD_MECHANISMS, "OAUTHBEARER", "GSSAPI")
_FILES = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
    "https.ca.location",
    "sasl.oauthbearer.assertion.private.key.file",
)
_ON_THEIR_OWN = {"ssl.ca.location": "probe", "https.ca.location": "probe"}  # values that name no file
_UNSECURED_TOKENS = "enable.sasl.oauthbearer.unsecure.jwt"


def check_client_security(options: Mapping[str, str]) -> None:
    """Raise SettingsError, one line per problem, if these librdkafka options cannot give a secured connection.

    Looks at the files that the options name, and at nothing else outside.
    """
    if problems := list(security_problems(options, unreadable)):
        raise SettingsError("\n".join(f"kafka.client: {problem}" for problem in problems))


def security_problems(options: Mapping[str, str], unreadable: Callable[[str], str | None]) -> Iterator[str]:
    """Yield a sentence for each problem. Pure; ``unreadable`` returns why a file cannot be read, None if it can."""
    protocol = options.get("security.protocol", "plaintext").lower()
    if protocol not in _TLS:
        yield f"security.protocol = {protocol!r}: it is one of {', '.join(_TLS)}"
        return
    if _TLS[protocol]:
        yield from _tls_problems(options)
    elif idle := [name for name in options if name.startswith("ssl.")]:
        secured = protocol.replace("plaintext", "ssl")
        yield f"{idle[0]} has no effect with security.protocol = {protocol}: set it to {secured}"
    if protocol.startswith("sasl"):
        yield from _sasl_problems(options)
    elif idle := [name for name in options if name.startswith("sasl.")]:
        secured = "sasl_ssl" if _TLS[protocol] else "sasl_plaintext, or sasl_ssl"
        yield f"{idle[0]} has no effect with security.protocol = {protocol}: set it to {secured}"
    for name in _FILES:
        if name in options and options[name] != _ON_THEIR_OWN.get(name) and (reason := unreadable(options[name])):
            yield f"{name} = {options[name]}: {reason}"


def unreadable(path: str) -> str | None:
    """Return why a file, or a folder of certificates, cannot be read; None if it can."""
    if not Path(path).exists():
        return "there is no such file"
    return None if os.access(path, os.R_OK) else "this user may not read it"


def _tls_problems(options: Mapping[str, str]) -> Iterator[str]:
    key = _first(options, "ssl.key.location", "ssl.key.pem")
    certificate = _first(options, "ssl.certificate.location", "ssl.certificate.pem")
    if key and not certificate:
        yield f"{key} without a certificate: set ssl.certificate.location"
    if certificate and not key:
        yield f"{certificate} without its key: set ssl.key.location"


def _sasl_problems(options: Mapping[str, str]) -> Iterator[str]:
    mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "")).upper()
    if mechanism not in _MECHANISMS:
        shown = f"sasl.mechanism = {mechanism!r}" if mechanism else "sasl.mechanism is not set"
        yield f"{shown}: it is one of {', '.join(_MECHANISMS)}"
    if mechanism in _PASSWORD_MECHANISMS:
        for name in ("sasl.username", "sasl.password"):
            if not options.get(name):
                yield f"{mechanism} needs {name}, which is not set" + (
                    ", and neither is sasl.password_file" if name == "sasl.password" else ""
                )
    if mechanism == "OAUTHBEARER" and options.get(_UNSECURED_TOKENS, "false").lower() != "true":
        yield from _token_problems(options)


def _token_problems(options: Mapping[str, str]) -> Iterator[str]:
    """Yield the problems of tokens, which librdkafka gets from a token endpoint by OpenID Connect."""
    if options.get("sasl.oauthbearer.method", "").lower() != "oidc":
        yield "OAUTHBEARER needs sasl.oauthbearer.method = oidc, by which tokens come from a token endpoint"
        return
    if options.get("sasl.oauthbearer.metadata.authentication.type", "none").lower() != "none":
        return  # the identity of the machine at its cloud
    if not options.get("sasl.oauthbearer.token.endpoint.url"):
        yield "OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url, which is not set"
    if options.get("sasl.oauthbearer.grant.type", "client_credentials").lower() == "client_credentials":
        ways = (
            ("sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"),
            ("sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"),
        )
        for names in ways:
            if not _first(options, *names):
                yield f"OAUTHBEARER needs {names[0]}, which is not set"


def _first(options: Mapping[str, str], *names: str) -> str | None:
    """Return the first of these options that is set."""
    return next((name for name in names if options.get(name)), None)
