"""TLS contexts of the HTTP servers and of their clients, from the files of the settings, checked before use.

At least TLS 1.2. A certificate is checked by a handshake in memory, so that a server starts only with one that a client
can accept: it belongs to its key, is valid now, and is for servers.
"""

import ssl
from pathlib import Path
from typing import Any

from surgetank.errors import SettingsError
from surgetank.settings import HttpSettings

_HANDSHAKE_FLIGHTS = 4  # more than any version of TLS needs


def server_context(http: HttpSettings) -> tuple[ssl.SSLContext, float] | None:
    """Return the context of a server and the time at which its certificate expires; None without a certificate.

    The time is in seconds since the epoch. With ``client_ca_file`` a client may send a certificate, and a wrong one
    ends the handshake. Raises SettingsError, which names the setting and the file, for files that cannot serve.
    """
    if http.cert_file is None or http.key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, http.cert_file, http.key_file)
    expires = _expiry(context, http.cert_file)
    if http.client_ca_file is not None:
        context.verify_mode = ssl.CERT_OPTIONAL  # probes of an orchestrator have no certificate
        _load_authorities(context, "http.client_ca_file", http.client_ca_file)
    return context, expires


def client_context(http: HttpSettings) -> ssl.SSLContext:
    """Return the context of a client, which verifies servers, and has the certificate of the settings if there is one.

    Raises SettingsError as ``server_context`` does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if http.ca_file is None:
        context.load_default_certs()
    else:
        _load_authorities(context, "http.ca_file", http.ca_file)
    if http.cert_file is not None and http.key_file is not None:
        _load_certificate(context, http.cert_file, http.key_file)
    return context


def _load_certificate(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    _check_readable("http.cert_file", certificate)
    _check_readable("http.key_file", key)
    try:
        context.load_cert_chain(certificate, key, password="")  # an encrypted key is an error, not a question
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SettingsError(f"http.key_file: {key} is not the key of http.cert_file, {certificate}") from None
        raise SettingsError(
            f"http.cert_file, http.key_file: {certificate} and {key} are not a certificate and its key in PEM without "
            "a password"
        ) from None


def _load_authorities(context: ssl.SSLContext, name: str, path: Path) -> None:
    _check_readable(name, path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise SettingsError(f"{name}: {path} has no certificates in PEM") from None


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise SettingsError(f"{name}: {path}: {error.strerror}") from None


def _expiry(server: ssl.SSLContext, path: Path) -> float:
    """Return when the certificate of a server expires, from a handshake with a client that trusts this certificate."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    ends = (client, server.wrap_bio(to_server, to_client, server_side=True))
    try:
        for _ in range(_HANDSHAKE_FLIGHTS):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        raise SettingsError(f"http.cert_file: {path}: {error.verify_message}; renew it") from None
    except ssl.SSLError as error:
        raise SettingsError(f"http.cert_file: {path} does not serve TLS: {error.reason}") from None
    certificate: dict[str, Any] = client.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
