"""Decides whether a request may be answered, and to which servers a client sends its token."""

import hmac
import ipaddress
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit


class AccessRefusal(NamedTuple):
    """Why a request is refused."""

    status: HTTPStatus
    reason: str


def refusal(
    token: str | None, *, client_certificates: bool, authorization: str, certified: bool
) -> AccessRefusal | None:
    """Return why a request is refused, None if it is not. Pure.

    ``token`` is the required one, ``authorization`` the header of the request; the duration of their comparison does
    not depend on the content. ``client_certificates``: whether one is required; ``certified``: whether it was sent.
    """
    if client_certificates and not certified:
        return AccessRefusal(HTTPStatus.FORBIDDEN, "this server requires a certificate of the client")
    if token is None:
        return None
    scheme, _, sent = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return AccessRefusal(
            HTTPStatus.UNAUTHORIZED, "this server requires a token: send the header Authorization: Bearer TOKEN"
        )
    if not hmac.compare_digest(sent.strip().encode(errors="surrogateescape"), token.encode()):
        return AccessRefusal(HTTPStatus.UNAUTHORIZED, "the bearer token is not the one of this server")
    return None


def is_loopback(host: str) -> bool:
    """Return whether traffic to this host, or to a socket bound to it, stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def request_headers(url: str, token: str | None) -> dict[str, str]:
    """Return the headers of a request to this URL: the token, unless it would cross a network in clear text."""
    target = urlsplit(url)
    private = target.scheme == "https" or is_loopback(target.hostname or "")
    return {"Authorization": f"Bearer {token}"} if token is not None and private else {}
