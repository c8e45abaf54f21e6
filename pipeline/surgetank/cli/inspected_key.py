"""What running workers answer about a key: its rows in the tables, and its last score."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import typer

from surgetank.http.http_get import get

KINDS = ("features", "predictions")
_ANSWER_SECONDS = 10.0  # a worker that queries its peers takes two seconds


def query_of(key: str | None, key_hex: str | None) -> str:
    """Return the query of a lookup. Raises typer.BadParameter unless exactly one of both is given, and readable."""
    if (key is None) == (key_hex is None):
        raise typer.BadParameter("give a key, or --key-hex with its bytes as hexadecimal digits")
    if key_hex is None:
        return urlencode({"key": key})
    try:
        return urlencode({"key_hex": bytes.fromhex(key_hex).hex()})
    except ValueError:
        raise typer.BadParameter(f"--key-hex {key_hex!r}: give hexadecimal digits, as 00ff") from None


def inspected_key(addresses: Sequence[str], pipeline: str, query: str) -> dict[str, dict[str, Any]]:
    """Return the answer of the first worker that answers whole, by kind; {} if none answers.

    An answer is the row with the key, or ``{"error": ...}``.
    """
    replies: dict[str, dict[str, Any]] = {}
    for address in addresses:
        for kind in KINDS:
            reply = get(f"{address}/v1/{pipeline}/{kind}?{query}", _ANSWER_SECONDS)
            if reply is None:
                break
            body = json.loads(reply.body or b"{}")
            if reply.status == HTTPStatus.OK:
                replies[kind] = _answer(body)
            else:
                replies.setdefault(kind, body)
        else:
            break
    return replies


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    """Return the row of the only key of an answer, or why there is none."""
    for row in body["found"].values():
        return dict(row)
    if body.get("unknown"):
        return {"error": f"nothing is known of key {body['unknown'][0]!r}"}
    return {"error": "a partition that may have the key cannot be asked now"}
