"""``/metrics``, ``/live`` and ``/ready``: what Prometheus scrapes and an orchestrator probes.

Health is answered in the server's loop and needs no thread; a page of metrics is rendered in a thread of its own, one
at a time, however large it is and however many scrapers there are.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from aiohttp import web

from pipeline.http.server import HttpServer, json_response, response
from pipeline.settings import TelemetrySettings
from pipeline.telemetry.catalogue import Catalogue
from pipeline.telemetry.health import Health


def monitoring_server(settings: TelemetrySettings, metrics: Catalogue, health: Health) -> HttpServer:
    """Return the server of a process with its monitoring routes, bound and not started. StartupError if it cannot."""
    server = HttpServer(
        settings.host,
        settings.port,
        name="telemetry",
        advice="set telemetry.host and telemetry.port (0: any free port)",
    )
    Monitoring(metrics, health).register(server)
    return server


class Monitoring:
    """The routes of one process's metrics and health."""

    def __init__(self, metrics: Catalogue, health: Health) -> None:
        self._metrics = metrics
        self._health = health
        self._rendering = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    def register(self, server: HttpServer) -> None:
        """Register the three routes."""
        server.route("GET", "/metrics", self.metrics)
        server.route("GET", "/live", self.live)
        server.route("GET", "/ready", self.ready)

    async def metrics(self, request: web.BaseRequest) -> web.Response:
        """Return the page in the format that the scraper accepts."""
        accept = request.headers.get("Accept", "")
        body, content_type = await asyncio.get_running_loop().run_in_executor(self._rendering, self._page, accept)
        return response(HTTPStatus.OK, body, content_type)

    async def live(self, _: web.BaseRequest) -> web.Response:
        """Return 200 if the process is alive, else 503, with what fails."""
        return _health_response(*self._health.live())

    async def ready(self, _: web.BaseRequest) -> web.Response:
        """Return 200 if the process is ready, else 503, with what fails."""
        return _health_response(*self._health.ready())

    def _page(self, accept: str) -> tuple[bytes, str]:
        self._metrics.ready.set(self._health.report().ready)
        return self._metrics.expose(accept)


def _health_response(good: bool, body: dict[str, Any]) -> web.Response:
    return json_response(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body, indent=2)
