"""An HTTP server on loopback that serves files from memory, and can fail as the servers of a repository do."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CUT = -1


@dataclass
class FileServer:
    """What the server has and was asked for.

    ``faults`` holds the status codes of the next answers for a path; ``CUT`` sends half of the file, then closes the
    connection. ``authorizations`` are the values of that header, None for a request without.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    asked: Counter[str] = field(default_factory=Counter)
    authorizations: set[str | None] = field(default_factory=set)


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/maven/")
            known.asked[path] += 1
            known.authorizations.add(self.headers["Authorization"])
            fault = known.faults[path].pop(0) if known.faults[path] else 200
            if fault not in {200, CUT} or path not in known.files:
                self.send_error(404 if fault == 200 else fault)
                return
            content = known.files[path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content if fault == 200 else content[: len(content) // 2])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class has
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        known = FileServer(f"http://127.0.0.1:{server.server_port}/maven")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield known
        finally:
            server.shutdown()
