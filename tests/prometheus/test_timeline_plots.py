"""The plots of an incident report, from a real Prometheus."""

import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surgetank.clock import SystemClock
from surgetank.errors import SurgetankError
from surgetank.kafka.local.broker import free_ports
from surgetank.timeline import prometheus_query
from surgetank.timeline.incident import incident_report
from tests.support.programs import needed


@contextmanager
def prometheus(folder: Path, samples: str) -> Iterator[str]:
    """Run a real Prometheus over these samples (OpenMetrics with times); yield its URL."""
    program, tool = needed("prometheus", "prometheus"), needed("prometheus", "promtool")
    (folder / "samples").write_text(samples)
    data = folder / "data"
    subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", folder / "samples", data], check=True, capture_output=True
    )
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    address = f"127.0.0.1:{free_ports(1)}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={data}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            _until_ready(f"http://{address}/-/ready", process, folder / "log")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait(30)


def _until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    clock, never = SystemClock(), threading.Event()
    started = clock.monotonic()
    while clock.monotonic() - started < 60:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            never.wait(0.1)
    raise AssertionError(f"Prometheus is not ready: {log.read_text()}")


def test_plots_show_the_values_of_a_real_prometheus(tmp_path: Path) -> None:
    """Only those of this pipeline's workers; a refused query raises an error."""
    end = round(SystemClock().now()) - 3600
    start = end - 1200
    lines = []
    for name, kind in (("surgetank_lag_records", "gauge"), ("surgetank_worker_info", "gauge")):
        lines.append(f"# TYPE {name} {kind}")
        for at in range(start - 300, end + 1, 15):
            for instance, pipeline, lag in (("a", "flights", 7), ("b", "flights", 5), ("c", "payments", 1000)):
                labels = f'instance="{instance}",job="w"'
                if name == "surgetank_worker_info":
                    lines.append(f'{name}{{{labels},pipeline="{pipeline}",worker="{instance}"}} 1 {at}')
                else:
                    lines += [f'{name}{{{labels},topic="t",partition="{p}"}} {lag} {at}' for p in (0, 1)]
    lines.sort(key=lambda line: (line.split()[2 if line[0] == "#" else 0].partition("{")[0], line[0] != "#"))
    with prometheus(tmp_path, "\n".join([*lines, "# EOF", ""])) as url:
        lag_query = next(query for query in prometheus_query.QUERIES if query.name == "lag")
        (line,) = prometheus_query.query_range(url, lag_query, "flights", start * 1000, end * 1000)
        assert len(line.times) > 200
        assert set(line.values) == {2 * (7 + 5)}
        with pytest.raises(SurgetankError, match="refuses a query"):
            prometheus_query.query_range(
                url, prometheus_query.RangeQuery("x", "x", "sum("), "flights", start * 1000, end * 1000
            )

        file = tmp_path / "incident.md"
        written = incident_report(
            "flights", [], start=start * 1000, end=end * 1000, written_at=end * 1000, file=file, prometheus=url
        )
    assert tmp_path / "incident-plots" / "lag.svg" in written
    for path in written[1:]:
        ElementTree.fromstring(path.read_text())
    text = file.read_text()
    assert "lag in records](incident-plots/lag.svg)" in text
    assert text.count("Prometheus has no data") == len(prometheus_query.QUERIES) - 1
