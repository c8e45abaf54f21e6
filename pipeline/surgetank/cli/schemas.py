"""``surgetank schemas``: check the schemas of the project, write that of scores, and bring them into a registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgetank.cli.options import Json, Name, SettingsOptions, pipeline_and_settings, print_json, with_settings

if TYPE_CHECKING:
    from surgetank.codec.schema_plan import PlannedSubject
    from surgetank.codec.schema_registry import SchemaRegistry

app = typer.Typer(help="Check the schemas of the project, and bring them into a schema registry.", no_args_is_help=True)

Level = Annotated[
    str | None,
    typer.Option(
        "--compatibility",
        help="Compatibility level of the subjects; default: theirs, FULL_TRANSITIVE for those without one.",
    ),
]


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(file_okay=False, help="Folder of schemas; default: the setting schemas.directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that each schema and all of its releases can read each other, in both directions. Exit code 1: they cannot.

    The engine's own schemas are checked too: names and ids of both must differ. No registry is asked.
    """
    from surgetank.codec.evolution import check_schemas, print_check

    found = check_schemas(folder)
    if as_json:
        print_json(found._asdict())
        raise typer.Exit(1 if found.problems else 0)
    raise typer.Exit(print_check(found))


@app.command()
def score(name: Name, as_json: Json = False) -> None:
    """Write the schema of scores that a pipeline with passthrough needs, and its id, into the folder of schemas."""
    from surgetank.cli.pipeline_argument import resolve
    from surgetank.codec.schema_repository import project_schemas
    from surgetank.codec.score_schema import make_score_schema, write_score_schema
    from surgetank.declaration import ENGINE_SCORES
    from surgetank.errors import TopologyError
    from surgetank.settings import load

    pipeline, folder = resolve(name), load().schemas.directory
    schema = pipeline.scores.schema
    if schema in ENGINE_SCORES:
        raise TopologyError(
            f"the scores of pipeline {pipeline.name!r} have the schema of the engine; declare "
            "Scores(..., passthrough=(FIELD, ...), schema=NAME) first"
        )
    id_ = write_score_schema(folder, schema, make_score_schema(project_schemas(folder), pipeline))
    if as_json:
        print_json({"file": str(folder / f"{schema}.avsc"), "id": id_})
    else:
        typer.echo(f"{folder / schema}.avsc: id {id_}")


@app.command("plan")
@with_settings
def plan_(pipeline: Name, compatibility: Level = None, as_json: Json = False, *, given: SettingsOptions) -> None:
    """Show what `apply` would change in the registry. Exit code 0: nothing, 1: something, 2: it refuses a schema."""
    _, planned = _planned(pipeline, compatibility, given)
    if as_json:
        print_json({"subjects": [_shown(each) for each in planned]})
    else:
        for each in planned:
            _say(each)
    if _refused(planned):
        raise typer.Exit(2)
    raise typer.Exit(1 if any(each.changes for each in planned) else 0)


@app.command("apply")
@with_settings
def apply_(pipeline: Name, compatibility: Level = None, as_json: Json = False, *, given: SettingsOptions) -> None:
    """Register the schema of each topic of a pipeline as <topic>-value. Repeating the command changes nothing.

    If the registry refuses one of them, nothing is registered and the exit code is 2.
    """
    from surgetank.codec.schema_plan import apply

    registry, planned = _planned(pipeline, compatibility, given)
    if _refused(planned):
        for each in planned:
            _say(each)
        raise typer.Exit(2)
    ids = apply(registry, planned)
    if as_json:
        print_json({"ids": ids})
        return
    for each in planned:
        _say(each, ids[each.schema.subject])


def _planned(pipeline: str, level: str | None, given: SettingsOptions) -> "tuple[SchemaRegistry, list[PlannedSubject]]":
    from surgetank.codec.schema_plan import plan, topic_schemas
    from surgetank.codec.schema_registry import SchemaRegistry
    from surgetank.codec.schema_repository import project_schemas
    from surgetank.errors import SettingsError

    chosen, settings = pipeline_and_settings(pipeline, given)
    if not settings.schema_registry.url:
        raise SettingsError("schema_registry.url is not set: there is no registry to compare with")
    contracts = project_schemas(settings.schemas.directory)
    registry = SchemaRegistry(settings.schema_registry)
    wanted = topic_schemas(chosen, contracts, recording=settings.features.record)
    return registry, plan(registry, wanted, level.upper() if level else None)


def _refused(planned: "list[PlannedSubject]") -> bool:
    from surgetank.codec.schema_plan import SubjectStatus

    return any(each.status is SubjectStatus.REFUSED for each in planned)


def _say(each: "PlannedSubject", number: int | None = None) -> None:
    known = number if number is not None else each.id
    version = f", version {each.version}" if number is None and each.version is not None else ""
    level = each.wanted_level if each.level == each.wanted_level else f"{each.level or 'none'} -> {each.wanted_level}"
    about = f"id {known}{version}, " if known is not None else ""
    typer.echo(f"{each.status:<12} {each.schema.subject}  ({each.schema.name}, {about}compatibility {level})")


def _shown(each: "PlannedSubject") -> dict[str, Any]:
    return {
        "subject": each.schema.subject,
        "schema": each.schema.name,
        "status": each.status,
        "id": each.id,
        "version": each.version,
        "compatibility": each.level,
        "wanted_compatibility": each.wanted_level,
    }
