"""A webhook for Alertmanager, which writes the alerts posted to ``/alerts`` to the timeline before it responds.

Alertmanager posts again after a 5xx and gives up after a 4xx. So 503 means that an alert is not written yet but may be
later; 413 means that an alert cannot be written: the body is too long, or no topic accepts the alert. All the other
alerts of a notification are written, each once, however often it is posted.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Self

from aiohttp import web

from surgetank.declaration import Pipeline
from surgetank.http.endpoint_security import EndpointSecurity
from surgetank.http.server import Handler, HttpServer, json_response
from surgetank.kafka.confirmed import ConfirmedProducer
from surgetank.settings import KafkaSettings
from surgetank.timeline.alert_writer import AlertWriter
from surgetank.timeline.alerts import parse_alerts

BODY_BYTES_MAX = 16 * 1024 * 1024
BODIES_BYTES_MAX = 4 * BODY_BYTES_MAX  # in memory at once, for all requests
BODY_SECONDS = 5.0  # to send the body
WRITE_SECONDS = 8.0  # less than the ten seconds after which Alertmanager gives up by default
REASON_CHARACTERS = 500  # for the fault of a notification, which may be quoted
WRITERS = 4  # notifications written concurrently

log = logging.getLogger(__name__)


class AlertmanagerWebhook:
    """Writes the alerts of one pipeline until it is stopped. Binds the port at once; StartupError if it is in use."""

    def __init__(
        self, kafka: KafkaSettings, pipeline: Pipeline, *, host: str, port: int, security: EndpointSecurity
    ) -> None:
        self._pipeline = pipeline
        self._buffered = 0
        self._server = HttpServer(host, port, name="alerts", advice="choose another --port", security=security)
        self._server.route("POST", "/alerts", self.post)
        self._server.route("GET", "/live", _constant(HTTPStatus.OK, "alive"), probe=True)
        advice = "post alerts to /alerts"
        self._server.route_prefix("GET", "/", _constant(HTTPStatus.NOT_FOUND, f"{advice}; /live answers"))
        self._server.route_prefix("POST", "/", _constant(HTTPStatus.NOT_FOUND, advice))
        self._producer = ConfirmedProducer(kafka, client_id="alertmanager-timeline")
        self._writer = AlertWriter(self._producer, pipeline.timeline)
        self._writing = ThreadPoolExecutor(WRITERS, thread_name_prefix="alerts")

    @property
    def url(self) -> str:
        """The URL for Alertmanager to post to."""
        return f"{self._server.url}/alerts"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._producer.close()
        self._writing.shutdown(wait=False, cancel_futures=True)

    async def post(self, request: web.BaseRequest) -> web.Response:
        """Write the new alerts of a notification."""
        if request.content_length is None:
            return _said(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
        if request.content_length > BODY_BYTES_MAX:
            return _said(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES_MAX} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.content.iter_any():
                    body += part
                    self._buffered += len(part)
                    if self._buffered > BODIES_BYTES_MAX:
                        return _said(HTTPStatus.SERVICE_UNAVAILABLE, "too many notifications at once; post it again")
            return await asyncio.get_running_loop().run_in_executor(self._writing, self._take, body)
        except TimeoutError:
            return _said(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive within {BODY_SECONDS:g} s")
        finally:
            self._buffered -= len(body)

    def _take(self, body: bytearray) -> web.Response:
        try:
            posted = parse_alerts(body, self._pipeline.name)
        except ValueError as error:
            return _said(HTTPStatus.BAD_REQUEST, str(error)[:REASON_CHARACTERS])
        result = self._writer.write(posted, WRITE_SECONDS)
        if result.waiting:
            return _said(HTTPStatus.SERVICE_UNAVAILABLE, "the timeline cannot be written to; post it again")
        if result.refused:
            why = f"{result.refused} of {len(posted)} alerts are too large for the timeline and are not written"
            return _said(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{why}; {result.written} are new and written")
        return _said(HTTPStatus.OK, f"{result.written} of {len(posted)} are new")


def _constant(status: HTTPStatus, text: str) -> Handler:
    """Return a handler with this response to every request."""

    async def respond(_: web.BaseRequest) -> web.Response:
        return _said(status, text)

    return respond


def _said(status: HTTPStatus, text: str) -> web.Response:
    return json_response(status, {"said": text})
