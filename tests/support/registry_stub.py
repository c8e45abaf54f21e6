"""A small HTTP server in place of a schema registry, that fails as it is told to."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

from surgetank.codec.avro.types import Json
from surgetank.codec.schema_ids import SchemaKey


class RegistryStub:
    """Has the ``schemas`` by id or GUID, types of those that are not Avro, and ids by subject. Counts lookups of ids.

    ``fault`` is called with each request's path; it may return a status and a body to answer with instead, or wait.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.schemas: dict[SchemaKey, Json] = {}
        self.types: dict[SchemaKey, str] = {}
        self.lookups: dict[SchemaKey, int] = {}
        self.subjects: dict[str, int] = {}
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

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a request for the schema of an id, or for the id of a subject's schema."""
        kind, _, name = path.partition("?")[0].rpartition("/")
        if kind == "/config" or name == "latest":  # no subject has versions
            return 404, b'{"error_code": 40401, "message": "Subject not found"}'
        if kind == "/subjects":
            if name not in self.subjects:
                return 404, b'{"error_code": 40401, "message": "Subject not found"}'
            subject = {"subject": name, "id": self.subjects[name], "version": 1, "schema": "{}"}
            return 200, json.dumps(subject).encode()
        number: SchemaKey = UUID(name) if kind.endswith("guids") else int(name)
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
