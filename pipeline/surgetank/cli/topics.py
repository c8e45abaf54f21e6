"""`surgetank topics`: create and check the topics of a pipeline."""

from typing import Annotated

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings

app = typer.Typer(help="Create and check the topics that a pipeline needs.", no_args_is_help=True)

Features = Annotated[
    bool | None, typer.Option("--features/--no-features", help="also the topic of recorded features (features.record)")
]


@app.command("apply")
@with_settings
def apply_(
    pipeline: Name,
    replication: Annotated[int, typer.Option(help="replicas of each topic; -1: the brokers' default")] = -1,
    features: Features = None,
    grow: Annotated[
        bool, typer.Option("--grow", help="also give the output topics as many partitions as the events have")
    ] = False,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Create missing topics, then check all topics. Repeating the command changes nothing."""
    from surgetank.cli.timeline_event import write_timeline_event
    from surgetank.kafka import provisioning

    chosen, settings = pipeline_and_settings(pipeline, given, {"features.record": features})
    kafka, recording = settings.kafka, settings.features.record
    made = provisioning.apply(kafka, chosen, replication, recording=recording, grow_outputs=grow)
    wanted = provisioning.needed(chosen, recording=recording)
    if made:
        write_timeline_event(kafka, chosen, f"topics apply made {', '.join(made)}", command="topics apply", made=made)
    if as_json:
        print_json({"made": made, "topics": [spec.name for spec in wanted]})
        return
    partitions = provisioning.existing(kafka)
    for spec in wanted:  # another broker may not know a new topic yet
        number = partitions.get(spec.name, spec.partitions)
        typer.echo(f"{'made ' if spec.name in made else 'there'}  {spec.name}  ({spec.role}, {number} partitions)")


@app.command()
@with_settings
def check(pipeline: Name, features: Features = None, as_json: Json = False, *, given: SettingsOptions) -> None:
    """List topics that are missing or have a wrong shape. The exit status is 2 if there are any."""
    from surgetank.kafka import provisioning

    chosen, settings = pipeline_and_settings(pipeline, given, {"features.record": features})
    kafka, recording = settings.kafka, settings.features.record
    if as_json:
        have = provisioning.existing(kafka)
        absent = [s.name for s in provisioning.needed(chosen, recording=recording) if s.name not in have]
        unseen = provisioning.hidden(kafka, absent)
        wrong = provisioning.problems(chosen, have, recording=recording, hidden=unseen)
        print_json({"problems": wrong})
        raise typer.Exit(2 if wrong else 0)
    provisioning.check(kafka, chosen, recording=recording)
    typer.echo(f"the topics fit pipeline {chosen.name!r}")
