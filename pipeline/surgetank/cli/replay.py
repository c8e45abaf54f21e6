"""``surgetank replay``: send the recorded events of a pipeline."""

from typing import Annotated

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings


@with_settings
def replay(
    name: Name,
    rate: Annotated[
        float | None,
        typer.Option(help="Events per second, of all kinds together; the default without --speed is 1000."),
    ] = None,
    spike: Annotated[
        list[str] | None,
        typer.Option(help="A spike, as 10x@20s+15s: tenfold rate from second 20 on, for 15 s. Repeatable."),
    ] = None,
    speed: Annotated[str | None, typer.Option(help="Instead of a rate: the recorded pace, times 600 for 600x.")] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Events to send; default: the recording once. Then it repeats, a year later."),
    ] = None,
    only: Annotated[str | None, typer.Option(help="Send events of this kind only, for example boarding.")] = None,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Send real events in the order of their time, at a pace that does not depend on the pipeline.

    The Kafka timestamp of each event is its intended send time. Ctrl-C stops sending; the report covers the events
    sent until then. The exit status is 1 if Kafka did not acknowledge every event.
    """
    import signal

    from surgetank.cli.pipeline_argument import recording_of
    from surgetank.drills import pacing
    from surgetank.drills.replay import Replay
    from surgetank.drills.wire import encoder

    pipeline, settings = pipeline_and_settings(name, given)
    recording = recording_of(pipeline)
    try:
        if only is not None:
            recording = recording.only(only)
        if speed is None:
            pace = pacing.at_rate(1000.0 if rate is None else rate, [pacing.parse_spike(s) for s in spike or ()])
        elif rate is None and not spike:
            pace = pacing.at_speed(pacing.parse_speed(speed), recording.times)
        else:
            raise ValueError("--speed uses the recorded pace; omit --rate and --spike")  # noqa: TRY301
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

    sender = Replay(settings.kafka, recording, pace, encoder(), count=count)
    before = signal.signal(signal.SIGINT, lambda *_: sender.stop())
    try:
        sent = sender.run()
    finally:
        signal.signal(signal.SIGINT, before)
    if as_json:
        print_json(sent)
    else:
        kinds = ", ".join(f"{number:,} to {topic}" for topic, number in sent.by_topic.items())
        typer.echo(f"sent {sent.sent:,} events ({kinds}); acknowledged {sent.acknowledged:,}, failed {sent.failed:,}")
        typer.echo(
            f"intended {sent.intended_rate:,.0f}/s, achieved {sent.achieved_rate:,.0f}/s, "
            f"at worst {sent.late_ms:.0f} ms late"
        )
    if not sent.complete:
        typer.echo(f"surgetank: not every event was delivered: {sent.error or 'no answer from Kafka'}", err=True)
        raise typer.Exit(1)
