"""Sends one HTTP GET request directly: a proxy in the environment is for the internet, not for workers."""

import ssl
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlsplit

from surgetank.errors import SettingsError
from surgetank.http.endpoint_security import ClientAccess

_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class Reply(NamedTuple):
    """Status and body of a response."""

    status: int
    body: bytes


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns a response of any status instead of raising an error or following a redirect."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002 - the signature is that of urllib
        return response

    https_response = http_response


def get(url: str, timeout: float, access: ClientAccess | None = None) -> Reply | None:
    """Return the response with any status; None if it is incomplete. ``timeout``: seconds without a byte.

    ``access``: token and TLS; default: neither, and the authorities of the system. Raises SettingsError if the server
    refuses the token or the certificate of this client, or this client the certificate of the server.
    """
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _AnyStatus()]
    headers = {}
    if access is not None:
        handlers.append(urllib.request.HTTPSHandler(context=access.context(urlsplit(url).hostname or "")))
        headers = access.headers(url)
    direct = urllib.request.build_opener(*handlers)
    try:
        with direct.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            reply = Reply(response.status, response.read())
    except (OSError, HTTPException) as error:
        _raise_for_tls(url, error.reason if isinstance(error, URLError) else error)
        return None
    if reply.status in _REFUSED:
        said = reply.body[:500].decode(errors="replace").strip()
        raise SettingsError(f"{_server(url)} refuses the request with status {reply.status}: {said}; see {_SETTINGS}")
    return reply


def answer(url: str, timeout: float, access: ClientAccess | None = None) -> str | None:
    """Return the body of a response with status 200 as text; None if there is no such response. Raises as ``get``."""
    reply = get(url, timeout, access)
    return reply.body.decode(errors="replace") if reply is not None and reply.status == HTTPStatus.OK else None


_SETTINGS = "http.token_file, http.cert_file and http.key_file"


def _raise_for_tls(url: str, reason: object) -> None:
    """Raise SettingsError if a request failed because one side refuses the TLS of the other."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise SettingsError(
            f"the certificate of {_server(url)} is refused: {reason.verify_message}; set http.ca_file to its authority"
        ) from None
    if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        raise SettingsError(f"no TLS with {_server(url)}: {reason.reason}; see {_SETTINGS}") from None


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
