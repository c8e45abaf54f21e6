"""Which requests are answered, and to which servers a token is sent."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.http.access import is_loopback, refusal, request_headers

VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(token=VISIBLE, sent=st.text())
def test_exactly_the_token_is_taken(token: str, sent: str) -> None:
    """Any other text is refused with 401, also one that no header can hold."""

    def refused(text: str) -> bool:
        found = refusal(token, client_certificates=False, authorization=f"Bearer {text}", certified=False)
        return found is not None and found.status == HTTPStatus.UNAUTHORIZED

    assert not refused(token)
    assert refused(sent) == (sent.strip() != token)
    assert refused("\udcff")


@pytest.mark.parametrize("authorization", ["", "Basic dTpw", "token", "Bearer", "Bearer ", "BearerX secret"])
def test_a_request_without_the_bearer_token(authorization: str) -> None:
    """The reason says what to send, or that it is another one."""
    found = refusal("secret", client_certificates=False, authorization=authorization, certified=True)
    assert found is not None
    assert found.status == HTTPStatus.UNAUTHORIZED
    assert "bearer token" in found.reason or "Authorization: Bearer TOKEN" in found.reason


@pytest.mark.parametrize(("certified", "token", "status"), [(False, "t", 403), (True, "x", 401), (True, "t", None)])
def test_certificate_and_token_are_both_needed(certified: bool, token: str, status: int | None) -> None:
    """Where both are required, one of them is not enough."""
    found = refusal("t", client_certificates=True, authorization=f"bearer {token}", certified=certified)
    assert (found and found.status) == status


@given(host=st.sampled_from(["10.1.2.3", "worker-1", "localhost", "127.0.0.1", "[::1]", "[2001:db8::1]", "127.evil"]))
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_token_never_crosses_a_network_in_clear_text(scheme: str, host: str) -> None:
    """It goes to any server over TLS, and without TLS to this machine only."""
    headers = request_headers(f"{scheme}://{host}:8080/metrics", "t")
    private = scheme == "https" or host in {"localhost", "127.0.0.1", "[::1]"}
    assert headers == ({"Authorization": "Bearer t"} if private else {})
    assert request_headers(f"{scheme}://{host}/", None) == {}


def test_what_is_bound_to_this_machine() -> None:
    """Every address of the machine is not."""
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "", "10.0.0.1", "worker")] == [False] * 5
