"""Runs a real Prometheus, Alertmanager and lag exporter on loopback with the shipped rules and routes, for tests.

Only targets, addresses and receivers differ from the shipped configuration; each receiver is a webhook.
"""

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from surgetank.kafka.local.broker import free_ports

OPS = Path(__file__).parents[1]
WANTED = "install the Debian packages prometheus and prometheus-alertmanager, or add their releases to PATH"
START_SECONDS = 60.0


class ProgramMissing(Exception):  # noqa: N818 - the name describes the error
    """A required program is not installed."""


def find_program(*names: str) -> str:
    """Return the path of the first of these programs in PATH. Raises ProgramMissing if there is none."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise ProgramMissing(f"{names[0]} is missing: {WANTED}")
    return found


class Service:
    """A process with an HTTP readiness path. Use it as a context manager; the end of the context stops it."""

    ready = "/-/ready"

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        self.address = f"127.0.0.1:{port}"
        self._command = list(command)
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def get(self, path: str, **parameters: str) -> bytes:
        """Return the body of a GET request."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}{path}?{query}", timeout=30) as answer:
            return bytes(answer.read())

    def _wait(self) -> None:
        pause = threading.Event()
        for _ in range(int(START_SECONDS / 0.1)):
            with contextlib.suppress(OSError):
                self.get(self.ready)
                return
            if self._process.poll() is not None:
                break
            pause.wait(0.1)
        log_end = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{Path(self._command[0]).name} does not start; end of its log:\n{log_end}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Prometheus(Service):
    """Scrapes ``targets`` (shipped job name to addresses) and evaluates the shipped rules."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]], alertmanager: str | None = None) -> None:
        binary = find_program("prometheus")
        port = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        shipped = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
        jobs = {each["job_name"] for each in shipped["scrape_configs"]}
        if unknown := targets.keys() - jobs:
            raise ValueError(f"unknown jobs {sorted(unknown)}; the shipped configuration has {sorted(jobs)}")
        self._folder = folder
        for job, addresses in targets.items():
            self.scrape(job, addresses)
        changed = shipped | {
            "rule_files": [str(OPS / "prometheus" / name) for name in shipped["rule_files"]],
            "scrape_configs": [
                {"job_name": name, "file_sd_configs": [{"files": [str(folder / f"{name}.json")]}]} for name in targets
            ],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager] if alertmanager else []}]}]},
        }
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(changed))
        command = [binary, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
        super().__init__([*command, f"--web.listen-address=127.0.0.1:{port}"], port, folder / "prometheus.log")

    def scrape(self, job: str, addresses: Sequence[str]) -> None:
        """Replace the scraped addresses of a job."""
        fresh = self._folder / f"{job}.new"
        fresh.write_text(json.dumps([{"targets": list(addresses)}]))
        fresh.replace(self._folder / f"{job}.json")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the current series of an expression: ``metric`` and ``value``. Raises HTTPError if it is invalid."""
        return self._result("/api/v1/query", query=expr)

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series of an expression over time: ``metric`` and ``values``."""
        return self._result("/api/v1/query_range", query=expr, start=str(start), end=str(end), step=str(step))

    def _result(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get(path, **parameters))["data"]["result"]
        return found


class LagExporter(Service):
    """`surgetank lag-exporter` for some groups, with the interval of docker-compose.yml."""

    ready = "/ready"

    def __init__(self, folder: Path, bootstrap: str, groups: str) -> None:
        port = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "surgetank.cli", "lag-exporter", "--bootstrap", bootstrap, "--groups", groups]
        super().__init__([*command, "--interval", "5", "--port", str(port)], port, folder / "exporter.log")


class Alertmanager(Service):
    """Routes alerts by the shipped configuration; each receiver is a webhook ``<webhooks>/<receiver name>``."""

    def __init__(self, folder: Path, webhooks: str) -> None:
        binary = find_program("alertmanager", "prometheus-alertmanager")
        port = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        shipped = yaml.safe_load((OPS / "alertmanager" / "alertmanager.yml").read_text())
        changed = shipped | {
            "global": {"resolve_timeout": shipped["global"]["resolve_timeout"]},
            "templates": [str(OPS / "alertmanager" / name) for name in shipped["templates"]],
            "receivers": [
                {"name": name, "webhook_configs": [{"url": f"{webhooks}/{name}", "send_resolved": True}]}
                for name in _names(shipped["receivers"])
            ],
        }
        file = folder / "alertmanager.yml"
        file.write_text(yaml.safe_dump(changed))
        command = [binary, f"--config.file={file}", f"--storage.path={folder / 'data'}", "--log.level=warn"]
        alone = ["--cluster.listen-address=", f"--web.listen-address=127.0.0.1:{port}"]
        super().__init__([*command, *alone], port, folder / "alertmanager.log")


def _names(receivers: list[dict[str, Any]]) -> Iterator[str]:
    return (str(receiver["name"]) for receiver in receivers)
