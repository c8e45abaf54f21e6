"""A webhook for Alertmanager: what it posts to ``/alerts`` is on the timeline before it is answered.

Whatever is not written is answered with 503, and Alertmanager posts it again.
"""

import json
import logging
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from pipeline.clock import Clock
from pipeline.declaration import Pipeline
from pipeline.errors import StartupError
from pipeline.kafka.best_effort_producer import Outcome
from pipeline.settings import KafkaSettings
from pipeline.timeline.alerts import AlertNotification, KnownAlerts, alerts
from pipeline.timeline.events import EventKind
from pipeline.timeline.writer import TimelineWriter

BODY_BYTES_MAX = 4 * 1024 * 1024
CLIENT_SECONDS = 5.0  # to send a request
WRITE_SECONDS = 8.0  # less than the ten seconds after which Alertmanager gives up by default

log = logging.getLogger(__name__)


class AlertmanagerWebhook:
    """Takes alerts of one pipeline in until it is stopped. The port is bound at once; StartupError if it is taken."""

    def __init__(self, kafka: KafkaSettings, pipeline: Pipeline, *, host: str, port: int, clock: Clock) -> None:
        self._pipeline = pipeline
        self._known = KnownAlerts()
        self._one_at_a_time = threading.Lock()
        self._ended = threading.Condition()
        self._outcomes: list[Outcome] = []
        self._timeline = TimelineWriter(kafka, pipeline, who="alertmanager", clock=clock, ended=self._end)
        try:
            self._server = _Server((host, port), self)
        except OSError as error:
            raise StartupError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="alerts", daemon=True)

    @property
    def url(self) -> str:
        """Where Alertmanager is to post to."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/alerts"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._timeline.close()

    def take(self, body: bytes) -> tuple[HTTPStatus, str]:
        """Write the alerts of a notification that are new; return what to answer."""
        try:
            posted = alerts(body, self._pipeline.name)
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, str(error)
        with self._one_at_a_time:
            new = [alert for alert in posted if alert not in self._known]
            if not self._written(new):
                return HTTPStatus.SERVICE_UNAVAILABLE, "the timeline cannot be written to; post it again"
            for alert in new:
                self._known.add(alert)
                log.info("%s", alert.what)
        return HTTPStatus.OK, f"{len(new)} of {len(posted)} are new"

    def _written(self, new: list[AlertNotification]) -> bool:
        with self._ended:
            self._outcomes.clear()
        for alert in new:
            self._timeline.tell(EventKind.ALERT, alert.what, alert.details, alert.at_ms)
        with self._ended:
            self._ended.wait_for(lambda: len(self._outcomes) >= len(new), WRITE_SECONDS)
            return self._outcomes.count("written") >= len(new)

    def _end(self, outcome: Outcome) -> None:
        with self._ended:
            self._outcomes.append(outcome)
            self._ended.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], receiver: AlertmanagerWebhook) -> None:
        self.receiver = receiver
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = CLIENT_SECONDS
    server_version = "surgetank"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/live":
            self._answer(HTTPStatus.OK, "alive")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "post alerts to /alerts; /live answers")

    def do_POST(self) -> None:
        if self.path != "/alerts":
            self._answer(HTTPStatus.NOT_FOUND, "post alerts to /alerts")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._answer(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
        elif int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {BODY_BYTES_MAX} bytes")
        else:
            self._answer(*self.server.receiver.take(self.rfile.read(int(length))))

    def _answer(self, status: HTTPStatus, said: str) -> None:
        body = json.dumps({"said": said}).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        log.debug(format, *args)
