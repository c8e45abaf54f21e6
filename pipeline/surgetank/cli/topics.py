"""`surgetank topics`: create and check the topics of a pipeline."""

from typing import Annotated

import typer

from surgetank.cli.options import Bootstrap, Json, Name, pipeline_and_settings, print_json

app = typer.Typer(help="Create and check the topics that a pipeline needs.", no_args_is_help=True)

Features = Annotated[
    bool | None, typer.Option("--features/--no-features", help="also the topic of recorded features (features.record)")
]


@app.command("apply")
def apply_(
    pipeline: Name,
    bootstrap: Bootstrap = None,
    replication: Annotated[int, typer.Option(help="replicas of each topic; -1: the brokers' default")] = -1,
    features: Features = None,
    grow: Annotated[
        bool, typer.Option("--grow", help="also give the output topics as many partitions as the events have")
    ] = False,
    declaration: Annotated[
        bool, typer.Option("--declaration/--no-declaration", help="first check the schemas and the model, as a worker")
    ] = True,
    as_json: Json = False,
) -> None:
    """Create missing topics, then check all topics. Repeating the command changes nothing.

    Before anything is created, the schemas and the model of the pipeline are checked: workers could not use the topics.
    """
    from surgetank.cli.pipeline_argument import located, models_beside
    from surgetank.cli.timeline_event import write_timeline_event
    from surgetank.errors import ModelError
    from surgetank.kafka import provisioning
    from surgetank.worker.processing_parts import check_declaration

    chosen, settings = pipeline_and_settings(pipeline, bootstrap, {"features.record": features})
    if declaration:
        try:
            check_declaration(chosen, settings, models_beside(located(pipeline)[1]))
        except ModelError as error:
            raise ModelError(f"{error}; to create the topics before there is a model: --no-declaration") from None
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
def check(pipeline: Name, bootstrap: Bootstrap = None, features: Features = None, as_json: Json = False) -> None:
    """List topics that are missing or have a wrong shape. The exit status is 2 if there are any."""
    from surgetank.kafka import provisioning

    chosen, settings = pipeline_and_settings(pipeline, bootstrap, {"features.record": features})
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
