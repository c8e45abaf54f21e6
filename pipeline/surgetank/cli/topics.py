"""`surgetank topics`: create and check the topics of a pipeline."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings

if TYPE_CHECKING:
    from surgetank.kafka.access_rights import Right

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
    declaration: Annotated[
        bool, typer.Option("--declaration/--no-declaration", help="first check the schemas and the model, as a worker")
    ] = True,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Create missing topics, then check all topics. Repeating the command changes nothing.

    Before anything is created, the schemas and the model of the pipeline are checked: workers could not use the topics.
    """
    from surgetank.cli.pipeline_argument import located, models_beside
    from surgetank.cli.timeline_event import write_timeline_event
    from surgetank.errors import ModelError
    from surgetank.kafka import provisioning
    from surgetank.worker.processing_parts import check_declaration

    chosen, settings = pipeline_and_settings(pipeline, given, {"features.record": features})
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


@app.command()
@with_settings
def acls(
    pipeline: Name,
    principal: Annotated[
        str | None, typer.Option(help="Print the commands that give the rights to this user, as User:alice.")
    ] = None,
    tool: Annotated[list[str] | None, typer.Option(help="Only the rights for this one; repeatable.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Give the rights to --principal, instead of printing.")
    ] = False,
    features: Features = None,
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Print the rights that a worker and each tool need where Kafka has access control lists.

    Examples: surgetank topics acls flights --tool worker --principal User:alice
    """
    from surgetank.errors import SettingsError
    from surgetank.kafka.access_rights import TOOLS, grant, kafka_acls, rights

    chosen, settings = pipeline_and_settings(pipeline, given, {"features.record": features})
    tools = list(dict.fromkeys(tool or TOOLS))
    if unknown := [each for each in tools if each not in TOOLS]:
        raise SettingsError(f"--tool {unknown[0]}: it is one of {', '.join(TOOLS)}")
    if apply and principal is None:
        raise SettingsError("--apply needs --principal, as User:alice")
    found = {each: rights(chosen, each, recording=settings.features.record) for each in tools}
    if apply and principal is not None:
        grant(settings.kafka, principal, [right for each in found.values() for right in each])
    if as_json:
        print_json({each: [right._asdict() for right in granted] for each, granted in found.items()})
    elif apply:
        typer.echo(f"{principal} has the rights for {', '.join(tools)}")
    elif principal is not None:
        for each, granted in found.items():
            typer.echo(f"# {each}")
            for right in granted:
                typer.echo(kafka_acls(settings.kafka.bootstrap, principal, right))
    else:
        _print_rights(found)


def _print_rights(found: "Mapping[str, tuple[Right, ...]]") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    for tool, granted in found.items():
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(width=16)
        table.add_column(ratio=1, overflow="fold")
        table.add_column(width=30)
        for right in granted:
            name = right.name + ("* (prefix)" if right.prefix else "")
            table.add_row(right.resource, name, ", ".join(right.operations))
        console.print(f"[bold]{tool}[/]")
        console.print(table)
