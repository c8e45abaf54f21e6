"""``surgetank demo``: run the whole system once, on real Kafka."""

from pathlib import Path
from typing import Annotated, Any

import typer


def demo(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="For example flights.")] = "flights",
    rate: Annotated[float, typer.Option(min=1, help="Events per second, of all kinds together.")] = 2000.0,
    spike: Annotated[str, typer.Option(help="The spike: FACTORx@STARTs+LENGTHs.")] = "10x@20s+15s",
    seconds: Annotated[float, typer.Option(min=1, help="How long to send.")] = 50.0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    bootstrap: Annotated[
        str | None,
        typer.Option(help="An existing cluster; by default one is started, and stopped at the end."),
    ] = None,
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("demo-report.json"),
) -> None:
    """Start Kafka and two workers, replay real flights with a tenfold spike, then audit every event.

    The exit status is 0 only if no event was lost or duplicated. All started processes are stopped, also on Ctrl-C.
    """
    import contextlib
    import signal

    from rich.console import Console
    from rich.live import Live

    from pipeline.cli.pipeline_argument import located, recording_of
    from pipeline.drills import demo as drill
    from pipeline.drills import pacing
    from pipeline.drills.fleet import write_report
    from pipeline.kafka.broker_warm_up import warm_up
    from pipeline.kafka.local.broker import free_ports
    from pipeline.kafka.local.cluster import LocalCluster
    from pipeline.settings import KafkaSettings, load

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # stops the started processes, as on Ctrl-C
    console = Console()
    pipeline, module = located(name)
    plan = drill.DemoPlan(rate=rate, spike=pacing.parse_spike(spike), seconds=seconds, workers=workers)
    home = Path(".surgetank") / "demo"
    with contextlib.ExitStack() as leaving:
        recording = recording_of(pipeline)
        if bootstrap is None:
            console.print("starting Apache Kafka (the first run fetches its jars)")
            cluster = LocalCluster(home / "kafka", brokers=1, port=free_ports(2), short_lived=True)
            leaving.callback(cluster.down)
            cluster.up(fresh=True)
            kafka = KafkaSettings(bootstrap=cluster.bootstrap)
            console.print("warming up the broker, which has just started")
            warm_up(kafka)
        else:
            kafka = load({"kafka.bootstrap": bootstrap}).kafka
        with Live(console=console, refresh_per_second=4) as live:
            history: list[drill.DemoSnapshot] = []

            def show(look: drill.DemoSnapshot) -> None:
                history.append(look)
                live.update(_picture(look, history, plan.spike))

            try:
                result, audit = drill.demo(
                    pipeline,
                    module.__name__,
                    recording,
                    plan,
                    kafka=kafka,
                    folder=home / "logs",
                    show=show,
                    say=lambda line: console.print(line, highlight=False),
                )
            except KeyboardInterrupt:
                console.print("stopped; cleaning up")
                raise typer.Exit(130) from None
    write_report(result.as_dict(), report)
    console.print(_summary(result))
    for what, examples in audit.examples.items():
        console.print(f"  {what}: {', '.join(examples)}")
    console.print(f"report: {report}   worker logs: {home / 'logs'}", highlight=False)
    if not result.passed:
        raise typer.Exit(1)


def _picture(look: Any, history: list[Any], spike: Any) -> Any:
    from rich.columns import Columns
    from rich.panel import Panel
    from rich.table import Table

    now = Table.grid(padding=(0, 2))
    now.add_row("rate in", f"{look.rate_in:>9,.0f} /s", _spark([seen.rate_in for seen in history]))
    now.add_row("rate out", f"{look.rate_out:>9,.0f} /s", _spark([seen.rate_out for seen in history]))
    now.add_row("lag", f"{look.lag:>9,}   ", _spark([float(seen.lag) for seen in history]))
    now.add_row("p50 / p99", f"{look.recent.p50_ms:,.0f} / {look.recent.p99_ms:,.0f} ms", "over 5 s, send to reader")
    now.add_row("scored", f"{look.scored:>9,}   ", f"of {look.sent:,} sent")
    staff = Table(box=None, padding=(0, 1))
    for title in ("worker", "state", "tasks"):
        staff.add_column(title)
    for worker, state, partitions in look.workers:
        staff.add_row(worker, state, str(partitions))
    surge = spike.start <= look.seconds < spike.end
    title = f"{look.seconds:.0f} s" + (f"   [bold red]spike {spike.factor:g}x[/]" if surge else "")
    return Panel(Columns([now, staff], padding=(0, 6)), title=title, border_style="red" if surge else "green")


def _spark(values: list[float], width: int = 48) -> str:
    recent = values[-width:]
    top = max(max(recent, default=0.0), 1.0)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in recent)


def _summary(result: Any) -> Any:
    from rich.table import Table

    good = result.passed
    table = Table(title="every event counted", title_style="bold green" if good else "bold red", show_header=False)
    for label, value in (
        ("events", f"{result.events:,}"),
        ("scores", f"{result.scores:,}"),
        ("dead letters", f"{result.dead_letters:,}"),
        ("lost", f"{result.lost:,}"),
        ("duplicates", f"{result.duplicates:,}"),
        ("out of order within a key", f"{result.out_of_order:,}"),
        ("latency p50 / p99, whole run", f"{result.p50_ms:,.0f} / {result.p99_ms:,.0f} ms"),
        ("latency p99 before the spike", f"{result.p99_calm_ms:,.0f} ms"),
        ("peak rate", f"{result.peak_rate:,.0f} events/s"),
        ("peak lag", f"{result.peak_lag:,} events"),
        ("drained after the spike in", f"{result.drain_seconds:,.1f} s"),
    ):
        table.add_row(label, value)
    return table
