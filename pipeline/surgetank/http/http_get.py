"""Sends one HTTP GET request directly: a proxy in the environment is for the internet, not for workers."""

import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """Status and body of a response."""

    status: int
    body: bytes


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    """Returns a response of any status instead of raising an error or following a redirect."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002 - the signature is that of urllib
        return response

    https_response = http_response


def get(url: str, timeout: float) -> Reply | None:
    """Return the response with any status; None if it is incomplete. ``timeout``: seconds without a byte."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyStatus)
    try:
        with direct.open(url, timeout=timeout) as response:
            return Reply(response.status, response.read())
    except (OSError, HTTPException):
        return None


def answer(url: str, timeout: float) -> str | None:
    """Return the body of a response with status 200 as text; None if there is no such response."""
    reply = get(url, timeout)
    return reply.body.decode(errors="replace") if reply is not None and reply.status == HTTPStatus.OK else None
