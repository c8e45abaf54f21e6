"""One HTTP server per process, in a thread with its own event loop: it responds even if other threads hang.

Owners register routes. A handler is a coroutine function that never blocks; it runs blocking work, such as reading a
disk, in its owner's executor. So a slow route delays no other, and `/live` depends on the loop only. Each connection
serves one request (`connections` limits number and time). Requests are answered if `endpoint_security` lets them;
routes for probes answer every request, the others only with their status.
"""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Self

from aiohttp import web

from surgetank.clock import SystemClock
from surgetank.errors import StartupError
from surgetank.http.access import AccessRefusal, refusal
from surgetank.http.connections import Connections
from surgetank.http.endpoint_security import CHECK_SECONDS, EndpointSecurity
from surgetank.http.tls_listener import TlsListener

# Connections accepted per turn of the loop. asyncio reads a request about five turns after accepting: in that time
# fewer new connections must arrive than would displace it (CONNECTIONS_MAX).
ACCEPTED_AT_ONCE = 16
WAITING_MAX = 1024  # connections queued by the kernel until they are accepted
LINE_BYTES_MAX = 65_536  # of a request target, which may contain a hundred keys
STOP_SECONDS = 5.0

Handler = Callable[[web.BaseRequest], Awaitable[web.Response | None]]
"""Answers a request; None if the path turns out not to be its own, which is answered with 404."""

log = logging.getLogger(__name__)
# aiohttp logs each malformed request with a traceback; errors of handlers are logged here.
_protocol_log = logging.getLogger(f"{__name__}.protocol")
_protocol_log.setLevel(logging.CRITICAL)


def json_response(status: HTTPStatus, body: dict[str, Any], *, indent: int | None = None) -> web.Response:
    """Return a response with a JSON object and a line feed."""
    return response(status, json.dumps(body, indent=indent).encode() + b"\n", "application/json")


def response(status: HTTPStatus, body: bytes, content_type: str) -> web.Response:
    """Return a response that must not be cached."""
    headers = {"Content-Type": content_type, "Cache-Control": "no-store", "Server": "surgetank"}
    return web.Response(status=status, body=body, headers=headers)


class HttpServer:
    """Serves the registered routes until it is stopped. ``name`` is used for its thread and its log lines.

    Binds the port at once, so ``url`` is known before ``start``. Raises StartupError, with ``advice``, if the port is
    in use; SettingsError if the token of ``security`` would cross a network in clear text. Register routes before
    ``start``.
    """

    def __init__(self, host: str, port: int, *, name: str, advice: str, security: EndpointSecurity) -> None:
        security.check_exposure(host)
        self._security = security
        self._name = name
        self._probes: set[tuple[str, str]] = set()
        self._exact: dict[tuple[str, str], Handler] = {}
        self._prefixes: dict[tuple[str, str], Handler] = {}
        self._paths: set[str] = set()
        self._at_stop: list[Callable[[], Awaitable[None]]] = []
        self._connections = Connections()
        try:
            self._socket = _bound(host, port)
        except OSError as error:
            raise StartupError(f"{name} cannot listen on {host}:{port}: {error.strerror}; {advice}") from None
        self._host, self._port = self._socket.getsockname()[:2]
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def port(self) -> int:
        """The bound port, also when the setting is 0."""
        return int(self._port)

    @property
    def url(self) -> str:
        """The URL of the server."""
        scheme = "https" if self._security.tls else "http"
        return f"{scheme}://[{self._host}]:{self.port}" if ":" in self._host else f"{scheme}://{self._host}:{self.port}"

    def route(self, method: str, path: str, handler: Handler, *, probe: bool = False) -> None:
        """Handle requests of ``method`` (GET includes HEAD) for exactly this path.

        ``probe``: also those without the token or certificate that the others need; they get the status without the
        body of the handler.
        """
        self._exact[method, path] = handler
        if probe:
            self._probes.add((method, path))
        self._paths.add(path)

    def route_prefix(self, method: str, prefix: str, handler: Handler, paths: Iterable[str] = ()) -> None:
        """Handle requests for all paths with this prefix and without a route; the longest matching prefix is used.

        ``paths`` are the paths that the answer to another path lists.
        """
        self._prefixes[method, prefix] = handler
        self._paths |= set(paths)

    def at_stop(self, close: Callable[[], Awaitable[None]]) -> None:
        """Await ``close`` in the server's loop when it stops."""
        self._at_stop.append(close)

    def start(self) -> None:
        """Start serving requests."""
        self._thread.start()
        self._started.result()
        log.info("%s listens", self._name, extra={"fields": {"url": self.url}})

    def stop(self) -> None:
        """Close all connections and free the port. A second stop does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_SECONDS)
        self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if self._started.done():
                log.exception("%s ends", self._name)
            else:
                self._started.set_exception(error)
        finally:
            self._loop.close()  # without waiting for its executor

    async def _serve(self) -> None:
        protocols = _Protocols(self._answer, self._connections)
        close_listener = await self._listen(protocols)
        renewing = self._loop.create_task(self._renew())
        self._started.set_result(None)
        await self._stopping.wait()
        renewing.cancel()
        await close_listener()
        self._connections.abort_all()
        for close in self._at_stop:
            await close()
        await protocols.shutdown(timeout=0.5)

    async def _listen(self, protocols: "_Protocols") -> Callable[[], Awaitable[None]]:
        """Accept connections; return what ends that."""
        if self._security.tls:
            tls = TlsListener(self._socket, protocols, lambda: self._security.server_context)
            tls.start()
            return tls.close
        listener = await self._loop.create_server(protocols, sock=self._socket, backlog=ACCEPTED_AT_ONCE)
        self._socket.listen(WAITING_MAX)

        async def close() -> None:
            listener.close()

        return close

    async def _renew(self) -> None:
        """Use renewed files of token and certificates, and log why some cannot be used."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if problem := await asyncio.to_thread(self._security.renew, SystemClock().now()):
                log.warning("%s: %s", self._name, problem)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        self._connections.request_arrived(request.transport)
        try:
            answer = await self._guarded(request)
        except Exception:
            log.exception("%s failed to answer", self._name, extra={"fields": {"path": request.raw_path}})
            answer = response(HTTPStatus.INTERNAL_SERVER_ERROR, b"see the log\n", "text/plain")
        answer.force_close()
        self._connections.response_ready(request.transport)
        return answer

    async def _guarded(self, request: web.BaseRequest) -> web.Response:
        """Answer a request as far as it may know the answer."""
        transport = request.transport
        refused = refusal(
            self._security.token,
            client_certificates=self._security.client_certificates,
            authorization=request.headers.get("Authorization", ""),
            certified=bool(transport is not None and transport.get_extra_info("peercert")),
        )
        if refused is None:
            return await self._routed(request)
        if (_method(request), _path(request)) in self._probes:
            return _refused(refused._replace(status=HTTPStatus((await self._routed(request)).status)))
        return _refused(refused)

    async def _routed(self, request: web.BaseRequest) -> web.Response:
        method = _method(request)
        if method not in {each for each, _ in (*self._exact, *self._prefixes)}:
            return json_response(HTTPStatus.NOT_IMPLEMENTED, {"error": f"method {request.method} is not supported"})
        path = _path(request)
        handler = self._exact.get((method, path)) or self._of_prefix(method, path)
        if handler is not None and (answer := await handler(request)) is not None:
            return answer
        answered = {"error": f"nothing at {path}", "paths": sorted(self._paths)}
        return json_response(HTTPStatus.NOT_FOUND, answered, indent=2)

    def _of_prefix(self, method: str, path: str) -> Handler | None:
        matching = [each for each in self._prefixes if each[0] == method and path.startswith(each[1])]
        return self._prefixes[max(matching, key=lambda each: len(each[1]))] if matching else None


def _method(request: web.BaseRequest) -> str:
    return "GET" if request.method == "HEAD" else request.method


def _path(request: web.BaseRequest) -> str:
    return request.raw_path.partition("?")[0]


def _refused(refused: AccessRefusal) -> web.Response:
    answer = json_response(refused.status, {"error": refused.reason})
    if refused.status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


class _Protocols(web.Server):
    """Creates the protocol of each connection, and reports when one opens and closes."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.Response]], connections: Connections) -> None:
        super().__init__(
            handler,
            handler_cancellation=True,  # stops handlers whose client has disconnected
            access_log=None,
            logger=_protocol_log,
            keepalive_timeout=0,  # `connections` has the timers
            lingering_time=1.0,
            max_line_size=LINE_BYTES_MAX,
            auto_decompress=False,
        )
        self._bounded = connections
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._bounded.opened(transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._bounded.closed(self._transports.pop(handler))


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket. An IPv6 wildcard accepts IPv4 too, if the system supports it."""
    if ":" in host:
        dual = socket.has_dualstack_ipv6()
        return socket.create_server((host, port), family=socket.AF_INET6, backlog=WAITING_MAX, dualstack_ipv6=dual)
    return socket.create_server((host, port), backlog=WAITING_MAX)
