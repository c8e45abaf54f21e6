"""Asks a worker over HTTP, where no answer is an answer too."""

import urllib.request
from http.client import HTTPException


def http_get(url: str, timeout: float) -> str | None:
    """Return what is answered with status 200; None if nothing is within so many seconds, or not to the end."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as found:
            return str(found.read().decode())
    except (OSError, HTTPException):
        return None
