"""``/metrics``, ``/live`` and ``/ready`` from a thread of their own: they answer while everything else hangs.

One thread per connection, a bounded number of them, one request per connection, and a connection that takes
too long is cut: a slow or hostile client costs the worker little and locks nobody else out for long.
"""

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Self

from pipeline.errors import StartupError
from pipeline.settings import TelemetrySettings
from pipeline.telemetry.catalogue import Catalogue
from pipeline.telemetry.health import Health

CONNECTIONS_MAX = 32
CLIENT_SECONDS = 5.0  # from accepting a connection to having answered it

Page = Callable[[str], "tuple[HTTPStatus, bytes, str] | None"]

log = logging.getLogger(__name__)


class TelemetryServer:
    """Serves the metrics and the health of one process until it is stopped.

    The port is bound at once, so ``url`` is known before ``start``. Raises StartupError if it is taken.
    """

    def __init__(self, settings: TelemetrySettings, metrics: Catalogue, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._others: list[Page] = []
        try:
            self._server = _Server(settings.host, settings.port, self)
        except OSError as error:
            raise StartupError(
                f"telemetry cannot listen on {settings.host}:{settings.port}: {error.strerror}; "
                "set telemetry.host and telemetry.port (0: any free port)"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="telemetry", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that is bound, also when the setting says 0."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it listens."""
        host = str(self._server.server_address[0])
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def also(self, page: "Page") -> None:
        """Answer more: ``page`` is given the request target, and returns None for what is not its own."""
        self._others.append(page)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        log.info("telemetry listens", extra={"fields": {"url": self.url}})

    def stop(self) -> None:
        """Stop answering and free the port. A second stop does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer(self, target: str, accept: str) -> tuple[HTTPStatus, bytes, str]:
        """Return status, body and content type for a request target: path and query."""
        path = target.partition("?")[0]
        pages: dict[str, Callable[[], tuple[HTTPStatus, bytes, str]]] = {
            "/metrics": lambda: self._page(accept),
            "/live": lambda: _told(*self._health.live()),
            "/ready": lambda: _told(*self._health.ready()),
        }
        page = pages.get(path)
        if page is None:
            for other in self._others:
                if (answer := other(target)) is not None:
                    return answer
            body = {"error": f"nothing at {path}", "paths": sorted(pages)}
            return HTTPStatus.NOT_FOUND, _json(body), "application/json"
        return page()

    def _page(self, accept: str) -> tuple[HTTPStatus, bytes, str]:
        self._metrics.ready.set(self._health.report().ready)
        body, content_type = self._metrics.expose(accept)
        return HTTPStatus.OK, body, content_type


def _told(good: bool, body: dict[str, Any]) -> tuple[HTTPStatus, bytes, str]:
    return HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, _json(body), "application/json"


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, indent=2).encode() + b"\n"


class _Server(ThreadingMixIn, TCPServer):
    """Hands each connection to a thread, refuses the ones too many, and cuts the ones that take too long."""

    daemon_threads = True
    block_on_close = False  # a client that hangs must not hold up the end of the worker
    allow_reuse_address = True
    request_queue_size = 2 * CONNECTIONS_MAX

    def __init__(self, host: str, port: int, owner: TelemetryServer) -> None:
        self.owner = owner
        self._lock = threading.Lock()
        self._open: dict[socket.socket, float] = {}
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= CONNECTIONS_MAX
            if not full:
                self._open[request] = time.monotonic()
        if full:
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
            super().shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut connections past their time; serve_forever calls this several times a second."""
        oldest_allowed = time.monotonic() - CLIENT_SECONDS
        with self._lock:
            late = [request for request, since in self._open.items() if since < oldest_allowed]
            for request in late:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)  # its thread wakes up with an error and closes it

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class names them
        log.debug("a telemetry client went away", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "surgetank"
    sys_version = ""

    def do_GET(self) -> None:
        self._reply(body_too=True)

    def do_HEAD(self) -> None:
        self._reply(body_too=False)

    def _reply(self, *, body_too: bool) -> None:
        try:
            status, body, content_type = self.server.owner.answer(self.path, self.headers.get("Accept", ""))
        except Exception:
            log.exception("telemetry failed to answer", extra={"fields": {"path": self.path}})
            status, body, content_type = HTTPStatus.INTERNAL_SERVER_ERROR, b"see the log\n", "text/plain"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if body_too:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        log.debug(format, *args)
