"""``surgetank demo``: run the whole system once, on real Kafka."""

from pathlib import Path
from typing import Annotated, Any

import typer

from surgetank.cli.options import SettingsOptions, interrupt_on_sigterm, with_settings
from surgetank.cli.output import output_console, print_table


@with_settings
def demo(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="For example flights.")] = "flights",
    rate: Annotated[float, typer.Option(min=1, help="Events per second, of all kinds together.")] = 2000.0,
    spike: Annotated[str, typer.Option(help="The spike: FACTORx@STARTs+LENGTHs.")] = "10x@20s+15s",
    seconds: Annotated[float, typer.Option(min=1, help="How long to send.")] = 50.0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    report: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("demo-report.json"),
    *,
    given: SettingsOptions,
) -> None:
    """Start Kafka and two workers, replay real flights with a tenfold spike, then audit every event.

    With --bootstrap an existing Kafka is used, by the given settings; without, one is started, and stopped at the end.
    The exit status is 0 only if no event was lost or duplicated. All started processes are stopped, also on Ctrl-C.
    """
    import contextlib

    from rich.live import Live

    from surgetank.cli.pipeline_argument import located, recording_of
    from surgetank.drills import demo as drill
    from surgetank.drills import pacing
    from surgetank.drills.report import write_report
    from surgetank.kafka.broker_warm_up import warm_up
    from surgetank.kafka.local.cluster import temporary_cluster
    from surgetank.settings import KafkaSettings

    interrupt_on_sigterm()
    console = output_console()
    pipeline, module = located(name)
    plan = drill.DemoPlan(rate=rate, spike=pacing.parse_spike(spike), seconds=seconds, workers=workers)
    home = Path(".surgetank") / "demo"
    with contextlib.ExitStack() as stack:
        recording = recording_of(pipeline)
        if given.bootstrap is None:
            console.print("starting Apache Kafka (the first run fetches its jars)")
            cluster = stack.enter_context(temporary_cluster(home / "kafka", 1, short_lived=True))
            kafka = KafkaSettings(bootstrap=cluster.bootstrap)
            console.print("warming up the broker, which has just started")
            warm_up(kafka)
        else:
            kafka = given.load().kafka
        with Live(console=console, refresh_per_second=4) as live:
            history: list[drill.DemoSnapshot] = []

            def show(snapshot: drill.DemoSnapshot) -> None:
                history.append(snapshot)
                if console.is_terminal:
                    live.update(_picture(history, plan.spike))

            try:
                result = drill.demo(
                    pipeline,
                    module.__name__,
                    recording,
                    plan,
                    kafka=kafka,
                    worker_options=given.for_worker,
                    folder=home / "logs",
                    show=show,
                    say=lambda line: console.print(line, highlight=False),
                )
            except KeyboardInterrupt:
                console.print("stopped; cleaning up")
                raise typer.Exit(130) from None
    write_report(result.as_dict(), report)
    print_table(_summary(result))
    for what, examples in result.audit.examples.items():
        console.print(f"  {what}: {', '.join(examples)}")
    console.print(f"report: {report}   worker logs: {home / 'logs'}", highlight=False)
    if not result.audit.ok:
        raise typer.Exit(1)


def _picture(history: list[Any], spike: Any) -> Any:
    from rich.columns import Columns
    from rich.panel import Panel
    from rich.table import Table

    last, now = history[-1], Table.grid(padding=(0, 2))
    now.add_row("rate in", f"{last.rate_in:>9,.0f} /s", _spark([seen.rate_in for seen in history]))
    now.add_row("rate out", f"{last.rate_out:>9,.0f} /s", _spark([seen.rate_out for seen in history]))
    now.add_row("lag", f"{last.lag:>9,}   ", _spark([float(seen.lag) for seen in history]))
    now.add_row("p50 / p99", f"{last.recent.p50_ms:,.0f} / {last.recent.p99_ms:,.0f} ms", "over 5 s, send to reader")
    now.add_row("scored", f"{last.scored:>9,}   ", f"of {last.sent:,} sent")
    workers = Table(box=None, padding=(0, 1))
    for title in ("worker", "state", "tasks"):
        workers.add_column(title)
    for worker, state, partitions in last.workers:
        workers.add_row(worker, state, str(partitions))
    in_spike = spike.start <= last.seconds < spike.end
    title = f"{last.seconds:.0f} s" + (f"   [bold red]spike {spike.factor:g}x[/]" if in_spike else "")
    return Panel(Columns([now, workers], padding=(0, 6)), title=title, border_style="red" if in_spike else "green")


def _spark(values: list[float], width: int = 48) -> str:
    recent = values[-width:]
    top = max(max(recent, default=0.0), 1.0)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in recent)


def _summary(result: Any) -> Any:
    from rich.table import Table

    audit = result.audit
    table = Table(title="every event counted", title_style="bold green" if audit.ok else "bold red", show_header=False)
    for label, value in (
        ("events", f"{audit.events:,}"),
        ("scores", f"{audit.scores:,}"),
        ("dead letters", f"{audit.dead_letters:,}"),
        ("lost", f"{audit.lost:,}"),
        ("not processed", f"{audit.waiting:,}"),
        ("duplicates", f"{audit.duplicates:,}"),
        ("out of order within a key", f"{audit.out_of_order:,}"),
        ("latency p50 / p99, whole run", f"{result.p50_ms:,.0f} / {result.p99_ms:,.0f} ms"),
        ("latency p99 before the spike", f"{result.p99_calm_ms:,.0f} ms"),
        ("peak rate", f"{result.peak_rate:,.0f} events/s"),
        ("peak lag", f"{result.peak_lag:,} events"),
        ("drained after the spike in", f"{result.drain_seconds:,.1f} s"),
    ):
        table.add_row(label, value)
    return table
