"""What `surgetank state inspect` asks of workers, and what it makes of their answers."""

import json
from http import HTTPStatus

import pytest
import typer

from surgetank.cli import inspected_key
from surgetank.cli.inspected_key import query_of
from surgetank.http.http_get import Reply


@pytest.mark.parametrize(
    ("key", "key_hex", "query"),
    [("a b", None, "key=a+b"), ("ä", None, "key=%C3%A4"), (None, "00FF", "key_hex=00ff")],
)
def test_a_key_is_given_as_text_or_as_hexadecimal_digits(key: str | None, key_hex: str | None, query: str) -> None:
    """The query is that of the lookup over HTTP."""
    assert query_of(key, key_hex) == query


@pytest.mark.parametrize(("key", "key_hex"), [(None, None), ("a", "00"), (None, "0"), (None, "xy")])
def test_another_key_is_a_wrong_option(key: str | None, key_hex: str | None) -> None:
    """No key, two keys, and digits that are no bytes."""
    with pytest.raises(typer.BadParameter, match="hexadecimal digits"):
        query_of(key, key_hex)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"found": {"a": {"key": "a", "score": 1}}, "unknown": []}, {"key": "a", "score": 1}),
        ({"found": {}, "unknown": ["a"]}, {"error": "nothing is known of key 'a'"}),
        ({"found": {}, "unavailable": ["a"]}, {"error": "a partition that may have the key cannot be asked now"}),
    ],
)
def test_the_answer_of_a_worker(
    body: dict[str, object], answer: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not answer is passed over."""
    replies = {"b": Reply(HTTPStatus.OK, json.dumps(body).encode())}
    monkeypatch.setattr(inspected_key, "get", lambda url, _: replies.get(url.partition("/")[0]))
    assert inspected_key.inspected_key(["a", "b"], "flights", "key=a") == {"features": answer, "predictions": answer}
