"""Explains why no broker answers: the last error of the connections, and what to change for an error of that kind.

The error of a request says only that it timed out. The cause (a refused connection, a wrong password, a certificate
that cannot be verified) is reported beside it, as an error of the client, and repeated with each attempt to connect.
"""

import re
from collections.abc import Iterable

from confluent_kafka import KafkaError

_ADVICE = {
    "resolve": "correct the host name in kafka.bootstrap (--bootstrap, SURGETANK_KAFKA__BOOTSTRAP)",
    "certificate": (
        "the certificate of the broker is expired, is for another host name, or is of an authority that "
        "ssl.ca.location (below kafka.client) does not contain"
    ),
    "client certificate": (
        "the broker requires a certificate of the client, or refuses it as expired or of another authority: correct "
        "ssl.keystore.location, or ssl.certificate.location and ssl.key.location, below kafka.client"
    ),
    "tls": "the listener does not accept TLS: correct security.protocol below kafka.client, or the port",
    "mechanism": "correct security.protocol and sasl.mechanism below kafka.client, or the port",
    "token": "correct sasl.oauthbearer.* below kafka.client, or the token endpoint",
    "authentication": "correct sasl.username and sasl.password below kafka.client",
    "closed": (
        "the broker closes the connections: the listener may require TLS or SASL; correct security.protocol below "
        "kafka.client, or the port"
    ),
    "refused": (
        "start one with `surgetank kafka up`, or set kafka.bootstrap (--bootstrap, SURGETANK_KAFKA__BOOTSTRAP)"
    ),
}
_KINDS: tuple[tuple[str, int | None, str], ...] = (  # the first match counts; a code of None is any
    ("resolve", KafkaError._RESOLVE, ""),
    ("certificate", None, "certificate verify failed"),
    (
        "client certificate",
        None,
        "alert (bad certificate|no certificate|certificate|unsupported certificate|unknown ca)",
    ),
    ("tls", None, "SSL (handshake failed|connection closed)|SSL_HANDSHAKE"),
    ("mechanism", KafkaError._AUTHENTICATION, "mechanism handshake failed"),
    ("token", KafkaError._AUTHENTICATION, "OAUTHBEARER"),
    ("authentication", KafkaError._AUTHENTICATION, ""),
    ("refused", KafkaError._TRANSPORT, "Connect to"),
    ("closed", KafkaError._TRANSPORT, "Disconnected"),
)
_NOISE = re.compile(r"^\S+/(bootstrap|\d+): | \(after \d+ms in state \w+.*$")


def connection_failure(bootstrap: str, request: KafkaError, connections: Iterable[KafkaError]) -> str:
    """Return a message for a request that no broker answered: the cause and the advice for it. Pure.

    ``request`` is the error of the request, ``connections`` are the errors of the client, the newest last.
    """
    kind, text = "refused", request.str()
    seen = list(connections)
    kinds = [(_kind(error), error) for error in reversed(seen)]
    for wanted, *_ in _KINDS:
        if (found := next((error for each, error in kinds if each == wanted), None)) is not None:
            kind, text = wanted, _NOISE.sub("", found.str())
            break
    else:
        if seen and all(error.code() == KafkaError._ALL_BROKERS_DOWN for error in seen):
            kind = "closed"  # nothing else is reported of a connection that is closed after it was accepted
    return f"no Kafka broker answers at {bootstrap} ({text}); {_ADVICE[kind]}"


def _kind(error: KafkaError) -> str | None:
    for kind, code, pattern in _KINDS:
        if code in {None, error.code()} and re.search(pattern, error.str()):
            return kind
    return None
