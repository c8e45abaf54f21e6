"""``/metrics``, ``/live`` and ``/ready``: the endpoints for Prometheus and for an orchestrator's probes.

Health requests are handled in the server's loop and need no thread; a page of metrics is rendered in a separate thread,
one at a time, whatever its size and the number of scrapers.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from aiohttp import web

from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.server import Handler, HttpServer, json_response, response
from surgetank.settings import TelemetrySettings
from surgetank.telemetry.catalogue import Catalogue
from surgetank.telemetry.health import Health


def monitoring_server(
    settings: TelemetrySettings, metrics: Catalogue, health: Health, security: EndpointSecurity
) -> HttpServer:
    """Return the server of a process with its monitoring routes, bound but not started. Raises StartupError.

    ``/metrics`` returns the page in a format that the scraper accepts. ``/live`` and ``/ready`` return 200, or 503 with
    the failed checks; they are probes, which answer a request without the token too.
    """
    advice = "set telemetry.host and telemetry.port (0: any free port)"
    server = HttpServer(settings.host, settings.port, name="telemetry", advice=advice, security=security)
    rendering = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    def render(accept: str) -> tuple[bytes, str]:
        metrics.ready.set(health.report().ready)
        return metrics.expose(accept)

    async def page(request: web.BaseRequest) -> web.Response:
        accept = request.headers.get("Accept", "")
        return response(HTTPStatus.OK, *await asyncio.get_running_loop().run_in_executor(rendering, render, accept))

    server.route("GET", "/metrics", page)
    server.route("GET", "/live", _probe(health.live), probe=True)
    server.route("GET", "/ready", _probe(health.ready), probe=True)
    return server


def _probe(check: Callable[[], tuple[bool, dict[str, Any]]]) -> Handler:
    async def respond(_: web.BaseRequest) -> web.Response:
        good, body = check()
        return json_response(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body, indent=2)

    return respond
