"""``surgetank lag-exporter``: export the lag of whole clusters to Prometheus."""

from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import SettingsOptions, print_json, with_settings

if TYPE_CHECKING:
    from surgetank.telemetry.groups import GroupMetrics


@with_settings
def lag_exporter(
    groups: Annotated[str | None, typer.Option(help="regular expression of group names (exporter.groups)")] = None,
    interval: Annotated[float | None, typer.Option(help="seconds between passes (exporter.interval_seconds)")] = None,
    port: Annotated[int | None, typer.Option(help="port of /metrics, /live, /ready (telemetry.port)")] = None,
    host: Annotated[str | None, typer.Option(help="address to bind (telemetry.host)")] = None,
    once: Annotated[bool, typer.Option("--once", help="make one pass, report its cost, and exit")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --once: one JSON object")] = False,
    *,
    given: SettingsOptions,
) -> None:
    """Export the lag of every consumer group of a cluster, of any application, to Prometheus.

    Records and seconds behind, Burrow's status, rates and time to drain, per group, topic and partition. Scrapes do not
    query Kafka: passes run at the interval, one at a time. While Kafka is unreachable there are no group metrics, and
    surgetank_exporter_up is 0.

    The load on the brokers per pass: two requests per group, and a few per broker (surgetank_exporter_requests).
    Exit status: 0 stopped normally; with --once, 1 if Kafka did not answer.
    """
    import signal
    import threading

    from surgetank.clock import SystemClock
    from surgetank.http.monitoring import monitoring_server
    from surgetank.lag.exporter import Exporter
    from surgetank.lag.offset_collector_process import OffsetCollectorProcess
    from surgetank.telemetry import logs
    from surgetank.telemetry.groups import GroupMetrics
    from surgetank.telemetry.health import Health

    flags = {
        "exporter.groups": groups,
        "exporter.interval_seconds": interval,
        "telemetry.port": port,
        "telemetry.host": host,
    }
    settings = given.load(flags)
    logs.configure(settings.telemetry)
    clock = SystemClock()
    metrics, health = GroupMetrics(), Health(clock, conditions=("kafka",))
    with OffsetCollectorProcess(settings.kafka) as collector:
        exporter = Exporter(settings.exporter, collector, metrics, health, clock)
        if once:
            started = clock.monotonic()
            answered = exporter.measure()
            _report(metrics, clock.monotonic() - started, collector.pid, as_json)
            raise typer.Exit(0 if answered else 1)
        stopping = threading.Event()

        def stop(*_: object) -> None:
            stopping.set()
            collector.interrupt()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        with monitoring_server(settings.telemetry, metrics, health):
            exporter.run(stopping)


def _report(metrics: "GroupMetrics", seconds: float, child: int | None, as_json: bool) -> None:
    import psutil

    resident = {
        name: psutil.Process(pid).memory_info().rss
        for name, pid in (("exporter", None), ("asking", child))
        if name == "exporter" or pid
    }
    report = {
        "answered": bool(metrics.exporter_up.value()),
        "seconds": round(seconds, 3),
        "groups": int(metrics.exporter_groups.value() or 0),
        "partitions": len(metrics.group_lag_records.family().samples),
        "lag": int(sum(sample.value for sample in metrics.group_lag_records.family().samples)),
        "requests": int(metrics.exporter_requests.value() or 0),
        "resident_mib": {name: round(rss / 2**20, 1) for name, rss in resident.items()},
    }
    if as_json:
        print_json(report)
    else:
        for name, value in report.items():
            typer.echo(f"{name:<14} {value}")
