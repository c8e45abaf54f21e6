"""`surgetank state restoring`: what a terminal shows while workers restore."""

import socketserver
import threading
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from surgetank.cli import state
from surgetank.http.endpoint_security import client_access
from surgetank.settings import HttpSettings, Settings


def page(tasks: int, restored: int, remaining: int) -> str:
    """Return what a worker's page says."""
    return (
        f'surgetank_tasks{{state="restoring"}} {tasks}\n'
        f"surgetank_restore_records_total {restored}\nsurgetank_restore_remaining_records {remaining}\n"
    )


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one worker restore, and one that does not answer, for three looks."""
    pages = iter([page(2, 0, 5_000), page(1, 3_000, 2_000), page(0, 5_000, 0)])
    monkeypatch.setattr(state, "_found", lambda *_: SimpleNamespace(settings=Settings()))
    monkeypatch.setattr(state, "_peers", lambda *_: lambda: {"http://a", "http://silent"})
    monkeypatch.setattr(state, "_page", lambda address, _: None if address == "http://silent" else next(pages))
    monkeypatch.setattr(state, "WATCH_SECONDS", 0.0)


@pytest.mark.usefixtures("looks")
def test_it_watches_until_nothing_is_left() -> None:
    """The last line says that all is restored, and how much that was."""
    shown = CliRunner().invoke(state.app, ["restoring", "flights"])
    assert shown.exit_code == 0, shown.output
    assert "http://a, all restored" in shown.output
    assert "5,000 records, 0 left" in " ".join(shown.output.split())


@pytest.mark.usefixtures("looks")
def test_one_look_is_json() -> None:
    """Scripts get numbers, of those that answer."""
    shown = CliRunner().invoke(state.app, ["restoring", "flights", "--json"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.strip() == (
        '{"workers": [{"address": "http://a", "tasks": 2, "restored": 0, "remaining": 5000}]}'
    )


def test_a_worker_that_ends_while_it_answers_does_not_answer() -> None:
    """What it had sent by then is no page."""

    class Half(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nsurgetank_tasks")

    with socketserver.TCPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.handle_request).start()
        assert state._page(f"http://127.0.0.1:{server.server_address[1]}", client_access(HttpSettings())) is None
