"""Real Prometheus and Alertmanager beside real workers on real Kafka, with the rules and routes as shipped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ops.alerts import objectives as o
from ops.alerts.dashboards import dashboards
from ops.alerts.one_worker import one_worker
from ops.alerts.services import Alertmanager, LagExporter, Prometheus
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import Stage
from tests.support.webhook_receiver import Receiver

StageFactory = Callable[..., Stage]
RATE = 200.0
# Waits end when their condition holds; this is for a machine that does ten other things. What is promised is held
# by promtool and by arithmetic, tests/prometheus and tests/unit/alerts.
WAIT_SECONDS = 240.0
# What there is only while something is wrong, or behind.
RARE = ("events_dead", "ALERTS", "surgetank_anomaly", "surgetank_restore", "drain_seconds")


@pytest.mark.usefixtures("prometheus_programs")
def test_a_stalled_worker_is_paged_and_resolved(kafka: KafkaUnderTest, stage: StageFactory, tmp_path: Path) -> None:
    """A frozen worker's partitions reach the pager, with figures and a runbook; when it goes on, so does the word."""
    on = stage()
    worker = on.worker()
    with (
        Receiver() as receiver,
        LagExporter(tmp_path / "exporter", kafka.bootstrap, on.pipeline.group) as exporter,
        Alertmanager(tmp_path / "alertmanager", receiver.url) as alertmanager,
        Prometheus(
            tmp_path / "prometheus",
            {o.WORKERS_JOB: [f"127.0.0.1:{worker.port}"], o.EXPORTER_JOB: [exporter.address]},
            alertmanager.address,
        ) as prometheus,
    ):
        on.sending(1_000_000, RATE)
        on.until(
            lambda: bool(prometheus.query("surgetank:lag_status == 0 and on () surgetank:events_timed:rate2m > 0")),
            WAIT_SECONDS,
            "Prometheus sees a healthy pipeline",
        )
        on.until(lambda: bool(prometheus.query("surgetank_exporter_up == 1")), WAIT_SECONDS, "the exporter is up")
        on.until(
            lambda: not unanswered(prometheus, on.pipeline.name, f"127.0.0.1:{worker.port}"),
            WAIT_SECONDS,
            "the dashboards' queries have answers",
        )
        assert receiver.of("pager", "firing") == []

        on.fleet.pause(worker)
        took = on.until(lambda: bool(receiver.of("pager", "firing")), WAIT_SECONDS, "the pager rings")
        print(f"paged {took:.0f} s after the worker froze; {o.PAGED_WITHIN['PartitionStopped']} s are promised")
        page = receiver.of("pager", "firing")[0]
        assert page["labels"]["alertname"] in {"PartitionStalled", "PartitionStopped"}
        assert page["labels"]["group"] == on.pipeline.group
        assert page["labels"]["severity"] == "page"
        assert "partition(s)" in page["annotations"]["description"]
        assert on.pipeline.events.topic in page["annotations"]["description"]
        assert page["annotations"]["runbook_url"] == f"ops/runbooks/{page['labels']['alertname']}.md"
        on.until(lambda: bool(receiver.of("chat", "firing")), WAIT_SECONDS, "the chat is told too")
        assert receiver.of("mail", "firing") == []

        on.fleet.resume(worker)
        on.until(lambda: on.lag() < RATE * 5 or not worker.running, WAIT_SECONDS, "the worker catches up")
        over = {"alertname": page["labels"]["alertname"], "group": on.pipeline.group}.items()
        on.until(
            lambda: any(over <= alert["labels"].items() for alert in receiver.of("pager", "resolved")),
            WAIT_SECONDS,
            "the pager is told that it is over",
        )
        # The burn rate remembers: it may well fire on, for what came late is late.
        lags = 'ALERTS{alertstate="firing",severity="page",group!=""}'
        on.until(lambda: not prometheus.query(lags), WAIT_SECONDS, "nothing about lag fires any more")


def unanswered(prometheus: Prometheus, pipeline: str, worker: str) -> list[str]:
    """Ask every query of every dashboard; return those that a healthy pipeline has an answer to, and that have none.

    A worker's dashboard shows all of its catalogue, also what a pipeline without state never has; it must be taken.
    """
    silent = []
    for board in dashboards():
        for query in board.queries:
            chosen = query.replace("$__rate_interval", "1m").replace("$pipeline", pipeline).replace("$worker", worker)
            found = prometheus.query(chosen)
            if not found and board.uid != one_worker().uid and not any(rare in query for rare in RARE):
                silent.append(chosen)
    return silent
