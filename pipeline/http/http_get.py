"""Sends one HTTP GET request directly: a proxy in the environment is for the internet, not for workers."""

import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import NamedTuple


class Reply(NamedTuple):
    """Status and body of a response."""

    status: int
    body: bytes


def get(url: str, timeout: float) -> Reply | None:
    """Return the response with any status; None if it is incomplete. ``timeout``: seconds without a byte."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=timeout) as found:
            return Reply(found.status, found.read())
    except urllib.error.HTTPError as error:
        with error:
            try:
                return Reply(error.code, error.read())
            except (OSError, HTTPException):
                return None
    except (OSError, HTTPException):
        return None


def answer(url: str, timeout: float) -> str | None:
    """Return the body of a response with status 200 as text; None if there is no such response."""
    reply = get(url, timeout)
    return reply.body.decode(errors="replace") if reply is not None and reply.status == HTTPStatus.OK else None
