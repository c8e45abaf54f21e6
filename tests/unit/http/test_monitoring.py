"""Metrics and health over real HTTP, while the rest of the worker hangs or clients misbehave."""

import asyncio
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from surgetank.clock import SystemClock
from surgetank.errors import StartupError
from surgetank.http import connections
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.monitoring import monitoring_server
from surgetank.http.server import HttpServer
from surgetank.settings import HttpSettings, TelemetrySettings
from surgetank.telemetry.health import Health, beat_forever
from surgetank.telemetry.metrics import Metrics

OPEN = EndpointSecurity(HttpSettings())
PATIENCE = 30.0  # of a test, never of the thing that is tested


@pytest.fixture
def health() -> Health:
    """Health with one condition."""
    return Health(SystemClock(), ("model",))


@pytest.fixture
def metrics() -> Metrics:
    """Metrics without a value."""
    return Metrics()


@pytest.fixture
def server(metrics: Metrics, health: Health) -> Iterator[HttpServer]:
    """Start a server on a free port."""
    with monitoring_server(TelemetrySettings(), metrics, health, OPEN) as running:
        yield running


def ask(server: HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    """Return status, body and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def status(server: HttpServer) -> int | None:
    """Return the status of /live, or None where the connection was closed before it could be read."""
    try:
        return ask(server, "/live")[0]
    except ConnectionError:
        return None


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds and return what it gave."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
    return found


def test_the_port_is_known_before_it_answers(server: HttpServer) -> None:
    """Port 0 becomes a real one that can be read and asked."""
    assert server.port > 0
    assert server.url == f"http://127.0.0.1:{server.port}"
    status, body, headers = ask(server, "/metrics")
    assert status == 200
    assert "surgetank_events_in_flight 0.0" in body
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


def test_a_scraper_gets_the_format_it_accepts(server: HttpServer) -> None:
    """OpenMetrics for those who ask for it; a query string does not matter."""
    status, body, headers = ask(server, "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_ready_follows_the_conditions_on_its_page_and_in_the_metrics(server: HttpServer, health: Health) -> None:
    """/ready is 503 with the reason until the condition is met, then 200; surgetank_ready says the same."""
    status, body, _ = ask(server, "/ready")
    assert (status, json.loads(body)["failing"][0]["name"]) == (503, "model")
    assert "surgetank_ready 0.0" in ask(server, "/metrics")[1]
    assert ask(server, "/live")[0] == 200
    health.set("model", True)
    assert ask(server, "/ready")[0] == 200
    assert "surgetank_ready 1.0" in ask(server, "/metrics")[1]


def test_another_path_is_answered_with_the_paths_that_exist(server: HttpServer) -> None:
    """404 names the three paths, also for the root."""
    for path in ("/", "/metricsx", "/../etc/passwd"):
        status, body, _ = ask(server, path)
        assert status == 404
        assert json.loads(body)["paths"] == ["/live", "/metrics", "/ready"]


def test_head_is_get_without_the_body(server: HttpServer) -> None:
    """HEAD has the same status and type, a length, and no body; other methods are refused."""
    status, body, headers = ask(server, "/live", "HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0
    assert ask(server, "/live", "POST")[0] == 501


def test_a_blocked_event_loop_shows_and_metrics_still_answer(server: HttpServer, health: Health) -> None:
    """While a callback blocks the loop, /live is 503 and says where, /metrics is 200; later all is well."""
    health.watch("event loop", deadline_seconds=0.3)
    go_on = threading.Event()

    def block_the_loop() -> None:
        go_on.wait()

    async def worker(blocked: threading.Event) -> None:
        beating = asyncio.create_task(beat_forever(health, every_seconds=0.05))
        await asyncio.to_thread(blocked.wait)  # runs well until told to block
        block_the_loop()
        await asyncio.to_thread(done.wait)
        beating.cancel()

    blocked, done = threading.Event(), threading.Event()
    loop = threading.Thread(target=lambda: asyncio.run(worker(blocked)))
    loop.start()
    try:
        eventually(lambda: ask(server, "/live")[0] == 200)
        blocked.set()
        eventually(lambda: "block_the_loop" in ask(server, "/live")[1])
        code, body, _ = ask(server, "/live")
        failing = json.loads(body)["failing"][0]
        assert (code, failing["name"]) == (503, "event loop")
        assert failing["why"].startswith("blocked or dead: silent for ")
        assert any("block_the_loop (test_monitoring.py:" in line for line in failing["stack"])
        assert ask(server, "/metrics")[0] == 200
        assert ask(server, "/ready")[0] == 503
        go_on.set()
        eventually(lambda: ask(server, "/live")[0] == 200)
    finally:
        go_on.set()
        blocked.set()
        done.set()
        loop.join()


def test_many_scrapers_at_once_all_get_a_page(server: HttpServer) -> None:
    """Ten at a time, a hundred in all: every one gets the whole page."""
    with ThreadPoolExecutor(10) as pool:
        pages = list(pool.map(lambda _: ask(server, "/metrics"), range(100)))
    assert {status for status, _, _ in pages} == {200}
    assert all(len(body.encode()) == int(headers["Content-Length"]) for _, body, headers in pages)


def test_silent_clients_lock_nobody_out_and_are_cut(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all connections held by silent clients /live answers; the oldest are told 503, the others cut in time."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", PATIENCE)
    silent = [
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(connections.CONNECTIONS_MAX)
    ]
    try:
        for each in silent:
            each.send(b"GET /metrics HTTP/1.1\r\n")
        for _ in range(20):
            assert status(server) == 200
        assert silent[0].recv(100).startswith(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n")
        monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as late, suppress(ConnectionResetError):
            late.send(b"GET /live HTTP/1.1\r\nHost: x\r\n")  # and never the empty line
            assert late.recv(1) == b""  # cut, not answered
    finally:
        for each in silent:
            each.close()


def test_a_client_that_takes_no_response_is_cut(
    server: HttpServer, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is larger than the buffers between is not held for a client that does not read."""
    monkeypatch.setattr(connections, "RESPONSE_SECONDS", 0.2)
    monkeypatch.setattr(metrics, "expose", lambda _: (bytes(32 * 1024 * 1024), "text/plain"))
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: len(server._connections) == 1)
        eventually(lambda: len(server._connections) == 0)


@pytest.mark.parametrize(("clients", "probes"), [(100, 60), (2 * connections.CONNECTIONS_MAX, 10)])
def test_many_clients_that_reconnect_to_a_worker(server: HttpServer, clients: int, probes: int) -> None:
    """Each asks for metrics or sends half a request, drops the connection and comes again: every probe is answered."""
    over = threading.Event()

    async def client(number: int) -> None:
        while not over.is_set():
            with suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + (b"" if number % 10 else b"\r\n"))
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(), 1)
                writer.close()

    async def crowd() -> None:
        await asyncio.gather(*map(client, range(clients)))

    crowding = threading.Thread(target=lambda: asyncio.run(crowd()))
    crowding.start()
    try:
        assert [status(server) for _ in range(probes)] == [200] * probes
    finally:
        over.set()
        crowding.join()


def test_live_answers_while_a_page_is_rendered(
    server: HttpServer, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that takes for ever holds up other pages, not health."""
    go_on = threading.Event()
    rendering = threading.Event()

    def slow(_: str) -> tuple[bytes, str]:
        rendering.set()
        go_on.wait()
        return b"", "text/plain"

    monkeypatch.setattr(metrics, "expose", slow)
    with ThreadPoolExecutor(8) as pool:
        pages = [pool.submit(ask, server, "/metrics") for _ in range(8)]
        rendering.wait()
        try:
            assert ask(server, "/live")[0] == 200
            assert ask(server, "/ready")[0] == 503
        finally:
            go_on.set()
        assert {page.result()[0] for page in pages} == {200}


def test_a_malformed_request_is_refused_without_a_word_in_the_log(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no HTTP gets 400; strangers cannot fill the log with tracebacks."""
    for sent in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.send(sent)
            assert client.recv(100).partition(b" ")[2].startswith(b"400 ")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_fault_of_ours_is_a_logged_500(
    server: HttpServer, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception while a page is made is answered and logged, and the next request is served."""

    def broken(_: str) -> tuple[bytes, str]:
        raise ZeroDivisionError

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(metrics, "expose", broken)
        assert ask(server, "/metrics")[0] == 500
    assert "telemetry failed to answer" in caplog.text
    assert ask(server, "/metrics")[0] == 200


def test_a_taken_port_is_one_clear_error(server: HttpServer, health: Health) -> None:
    """Binding a port that is in use names the address and the setting."""
    with pytest.raises(StartupError, match=rf"cannot listen on 127.0.0.1:{server.port}: .*set telemetry.host"):
        monitoring_server(TelemetrySettings(port=server.port), Metrics(), health, OPEN)


def test_stopping_frees_the_port_and_may_be_repeated(health: Health) -> None:
    """After stop nobody answers, the port can be bound again at once, and a second stop does nothing."""
    first = monitoring_server(TelemetrySettings(), Metrics(), health, OPEN)
    first.start()
    assert ask(first, "/live")[0] == 200
    first.stop()
    first.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(first, "/live")
    with monitoring_server(TelemetrySettings(port=first.port), Metrics(), health, OPEN) as second:
        assert ask(second, "/live")[0] == 200


def test_a_silent_client_does_not_hold_up_the_stop(health: Health) -> None:
    """Stop returns while a client is connected that never sends its request."""
    server = monitoring_server(TelemetrySettings(), Metrics(), health, OPEN)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.send(b"GET /met")
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        stopping.join(PATIENCE)
        assert not stopping.is_alive()
