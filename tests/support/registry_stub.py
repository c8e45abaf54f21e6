"""A small HTTP server in place of a schema registry, that fails as it is told to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from surgetank.codec.avro.types import Json


class RegistryStub:
    """Has the ``schemas`` by id, and types of those that are not Avro. Counts the lookups of each id.

    ``fault`` is called with each request's path; it may return a status and a body to answer with instead, or wait.
    """

    def __init__(self, port: int = 0) -> None:
        self.schemas: dict[int, Json] = {}
        self.types: dict[int, str] = {}
        self.lookups: dict[int, int] = {}
        self.headers: list[dict[str, str]] = []
        self.fault: Callable[[str], tuple[int, bytes] | None] = lambda _: None
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.headers.append(dict(self.headers))
                status, body = stub.fault(self.path) or stub.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a request for the schema of an id."""
        number = int(path.partition("?")[0].rpartition("/")[2])
        self.lookups[number] = self.lookups.get(number, 0) + 1
        if number not in self.schemas:
            return 404, b'{"error_code": 40403, "message": "Schema not found"}'
        found = {"schema": json.dumps(self.schemas[number]), "schemaType": self.types.get(number, "AVRO")}
        return 200, json.dumps(found).encode()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def registry_stub() -> Iterator[RegistryStub]:
    """Run a stub."""
    stub = RegistryStub()
    try:
        yield stub
    finally:
        stub.stop()
