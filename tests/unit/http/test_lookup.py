"""surgetank.http.lookup: what is remembered of a key, from this worker and from its peers, over real HTTP."""

import json
import socket
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from aiohttp import web

from surgetank import Events, Pipeline, Scores, Table, hours
from surgetank.http.endpoint_security import EndpointSecurity, client_access
from surgetank.http.http_get import get
from surgetank.http.lookup import KEYS_MAX, StateLookup
from surgetank.http.monitoring import monitoring_server
from surgetank.http.server import HttpServer, response
from surgetank.processing.stateful_features import row_serdes
from surgetank.settings import HttpSettings, TelemetrySettings
from surgetank.state.predictions import predictions
from surgetank.telemetry.health import Health
from surgetank.telemetry.metrics import Metrics
from tests.support.endpoint_certificates import AUTHORITY, tls

OPEN = HttpSettings()
CARDS = Table("cards")
PIPELINE = Pipeline(
    name="payments",
    events=Events("payments.events", schema="payment", key="card", time="at"),
    features=(CARDS.count(window=hours(1)), CARDS.last("amount")),
    model="m",
    scores=Scores("payments.scores"),
)
FORMATS, _ = row_serdes(PIPELINE)
PATHS = ["/live", "/metrics", "/ready", "/v1/payments/features/KEY", "/v1/payments/predictions/KEY"]


class Stopped:
    """A clock that shows 10 s after the epoch."""

    def now(self) -> float:
        """Return the wall clock."""
        return 10.0

    def monotonic(self) -> float:
        """Return the other one."""
        return 10.0


class Shelf:
    """Tables as values: by partition and table, the rows of keys."""

    def __init__(self, rows: dict[int, dict[str, dict[bytes, bytes]]]) -> None:
        self.rows = rows

    def committed(self, table: str, keys: Sequence[bytes]) -> dict[int, list[bytes | None]]:
        """Return what each partition has of the keys."""
        return {partition: [tables.get(table, {}).get(key) for key in keys] for partition, tables in self.rows.items()}


class Worker:
    """A worker as far as lookups go: its shelf, its server, and the peers that it is told of."""

    def __init__(self, rows: dict[int, dict[str, dict[bytes, bytes]]], http: HttpSettings = OPEN) -> None:
        clock, security = Stopped(), EndpointSecurity(http)
        self.access = client_access(http)
        self.shelf = Shelf(rows)
        self.peers: set[str] = set()
        self.server = monitoring_server(TelemetrySettings(), Metrics(), Health(clock), security)
        self.lookup = StateLookup(
            PIPELINE,
            FORMATS,
            self.shelf,
            partitions=2,
            me=self.server.url,
            peers=lambda: self.peers,
            security=security,
            clock=clock,
        )
        self.lookup.register(self.server)

    def get(self, target: str) -> tuple[HTTPStatus, Any]:
        """Return status and body of a request."""
        reply = get(f"{self.server.url}{target}", 30, self.access)
        assert reply is not None
        return HTTPStatus(reply.status), json.loads(reply.body)


def peer_server() -> HttpServer:
    """Return a server without lookups."""
    return monitoring_server(TelemetrySettings(), Metrics(), Health(Stopped()), EndpointSecurity(OPEN))


def scored(score: float, at_ms: int) -> dict[str, dict[bytes, bytes]]:
    """Return the tables of a partition in which card a was scored."""
    row = predictions(np.array([score]), np.array([at_ms]), at_ms, np.array([b"7"]))
    seen = PIPELINE.table_states[0].layout.rows(1)
    seen[0, 0] = at_ms
    return {
        "predictions": {b"a": FORMATS["predictions"].pack(row, 5)[0].as_py()},
        "cards": {b"a": FORMATS["cards"].pack(seen, 5)[0].as_py()},
    }


@pytest.fixture
def two() -> Iterator[tuple[Worker, Worker]]:
    """Two workers that serve and know of each other; the second one has card a."""
    one, other = Worker({0: {}}), Worker({1: scored(0.25, 1000)})
    one.peers = other.peers = {one.server.url, other.server.url}
    with one.server, other.server:
        yield one, other


def test_any_worker_answers_for_a_key_of_another(two: tuple[Worker, Worker]) -> None:
    """The owner is found and asked; the answer has the score, its age and the model's version."""
    for worker in two:
        status, found = worker.get("/v1/payments/predictions/a")

        assert status == HTTPStatus.OK
        assert found.pop("age_seconds") == 9
        assert found == {"key": "a", "score": 0.25, "event_ms": 1000, "scored_ms": 1000, "model_version": "7"}


def test_features_come_by_name(two: tuple[Worker, Worker]) -> None:
    """The state row of each table, as its layout names it."""
    status, found = two[0].get("/v1/payments/features/a")

    assert status == HTTPStatus.OK
    assert found["tables"]["cards"]["seen_ms"] == 1000


def test_a_key_that_nobody_has_is_not_found(two: tuple[Worker, Worker]) -> None:
    """404 only when every partition was looked into; of many keys in one request, those are named."""
    assert two[0].get("/v1/payments/predictions/b")[0] == HTTPStatus.NOT_FOUND

    status, found = two[0].get("/v1/payments/predictions?key=a&key=b&key=a")

    assert status == HTTPStatus.OK
    assert list(found["found"]) == ["a"]
    assert found["unknown"] == ["b"]


def test_a_key_of_a_partition_that_nobody_answers_for_is_unavailable(two: tuple[Worker, Worker]) -> None:
    """While the other one restores, or does not answer, nobody may say that it knows nothing."""
    one, other = two
    other.server.stop()

    status, found = one.get("/v1/payments/predictions/a")

    assert status == HTTPStatus.SERVICE_UNAVAILABLE
    assert "partitions [1]" in found["error"]
    assert one.get("/v1/payments/predictions?key=a")[1] == {"found": {}, "unavailable": ["a"]}


def test_of_a_key_in_two_partitions_the_newer_row_counts() -> None:
    """A key whose events came to two partitions has two rows; the later score is the last one."""
    worker = Worker({0: scored(0.5, 2000), 1: scored(0.25, 1000)})
    with worker.server:
        assert worker.get("/v1/payments/predictions/a")[1]["score"] == 0.5


@pytest.mark.parametrize("target", ["/v1/payments/predictions", "/v1/payments/predictions/"])
def test_a_request_without_a_key_is_told_so(target: str) -> None:
    """And so is one with too many: what a request costs is bounded."""
    worker = Worker({})
    many = "&".join(f"key={number}" for number in range(KEYS_MAX + 1))
    with worker.server:
        assert worker.get(target)[0] == HTTPStatus.BAD_REQUEST
        assert worker.get(f"/v1/payments/predictions?{many}")[0] == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("target", ["/v1/flights/predictions/a", "/v1/payments/other/a", "/v1/payments/"])
def test_other_paths_are_not_its_own(target: str) -> None:
    """What belongs to nobody is left to the server, which says what there is."""
    worker = Worker({})
    with worker.server:
        status, found = worker.get(target)
    assert status == HTTPStatus.NOT_FOUND
    assert found == {"error": f"nothing at {target}", "paths": PATHS}


def test_the_root_lists_the_lookups() -> None:
    """With the paths of the monitoring."""
    worker = Worker({})
    with worker.server:
        assert worker.get("/")[1]["paths"] == PATHS


@pytest.mark.parametrize("key", ["a/ä", "a b+c", "50%", "a&key=b", "../a", "#;?\x00"])
def test_a_key_may_hold_any_character(two: tuple[Worker, Worker], key: str) -> None:
    """Keys are percent-encoded, slashes too, and reach a peer as they are."""
    one, other = two
    other.shelf.rows[1]["predictions"][key.encode()] = other.shelf.rows[1]["predictions"][b"a"]

    for worker in (other, one):
        assert worker.get(f"/v1/payments/predictions/{quote(key, safe='')}")[1]["key"] == key
        assert list(worker.get(f"/v1/payments/predictions?{urlencode({'key': key})}")[1]["found"]) == [key]


@pytest.mark.parametrize("key", [(7).to_bytes(8, "big"), b"\x00\x00\x00\x00\x05\x02a", b"\xff\xfe", b"a"])
def test_a_binary_key_is_looked_up(two: tuple[Worker, Worker], key: bytes) -> None:
    """Longs, keys in Avro and any other bytes are asked for as hexadecimal digits, also of a peer."""
    one, other = two
    for table in ("predictions", "cards"):
        other.shelf.rows[1][table][key] = other.shelf.rows[1][table][b"a"]

    for worker in (other, one):
        for kind in ("predictions", "features"):
            status, found = worker.get(f"/v1/payments/{kind}?key_hex={key.hex().upper()}&key_hex=1234")
            assert status == HTTPStatus.OK
            assert found["found"][key.hex()]["key_hex"] == key.hex()
            assert found["unknown"] == ["1234"]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/payments/predictions/%FF",
        "/v1/payments/predictions?key=%FF",
        "/v1/payments/predictions?key_hex=0",
        "/v1/payments/predictions?key_hex=xy",
        "/v1/payments/predictions?key_hex=00&key=a",
    ],
)
def test_a_key_that_is_no_text_is_looked_up_as_text(two: tuple[Worker, Worker], target: str) -> None:
    """It is not "not found": the request is wrong, and the answer says how to ask."""
    status, found = two[0].get(target)
    assert status == HTTPStatus.BAD_REQUEST
    assert "key_hex" in found["error"]


def test_a_hundred_long_keys_fit_in_a_request(two: tuple[Worker, Worker]) -> None:
    """As many keys as may be asked for, each of hundreds of characters, are asked of peers too."""
    query = "&".join(f"key={number:0300d}" for number in range(KEYS_MAX))

    status, found = two[0].get(f"/v1/payments/predictions?{query}")

    assert status == HTTPStatus.OK
    assert len(found["unknown"]) == KEYS_MAX


def test_a_proxy_in_the_environment(two: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers, and commands that ask them, reach each other directly, whatever http_proxy says."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

        assert two[0].get("/v1/payments/predictions/a")[0] == HTTPStatus.OK
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


@pytest.mark.parametrize(
    ("other", "status"),
    [
        (tls(token="t", client_ca_file=AUTHORITY), HTTPStatus.OK),
        (tls(token="another", client_ca_file=AUTHORITY), HTTPStatus.SERVICE_UNAVAILABLE),
        (tls("stranger", token="t"), HTTPStatus.SERVICE_UNAVAILABLE),
    ],
)
def test_workers_with_different_tokens(other: HttpSettings, status: HTTPStatus) -> None:
    """A peer is asked with token, TLS and certificate; one that has others does not answer for its keys."""
    one, second = Worker({0: {}}, tls(token="t", client_ca_file=AUTHORITY)), Worker({1: scored(0.25, 1000)}, other)
    one.peers = {one.server.url, second.server.url}
    with one.server, second.server:
        assert one.get("/v1/payments/predictions/a")[0] == status


@pytest.mark.parametrize(
    "told",
    [
        b"[]",
        b"no JSON",
        b'{"rows": {"a": 1}, "partitions": [1]}',
        b'{"rows": {"a": {"predictions": [5, {}, 1]}}, "partitions": [1]}',
        b'{"rows": {}, "partitions": ["x"]}',
    ],
)
def test_what_another_program_answers_at_a_peers_address_counts_for_nothing(told: bytes) -> None:
    """A port may belong to something else by now: the key is unavailable, as without an answer."""
    worker, other = Worker({0: {}}), peer_server()

    async def odd(_: web.BaseRequest) -> web.Response:
        return response(HTTPStatus.OK, told, "application/json")

    other.route_prefix("GET", "/", odd)
    worker.peers = {other.url, "http://no such host", "nonsense"}
    with worker.server, other:
        assert worker.get("/v1/payments/predictions/a")[0] == HTTPStatus.SERVICE_UNAVAILABLE
