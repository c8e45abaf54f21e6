"""``surgetank schemas``: check the schemas of the project, and write that of scores with fields of the events."""

from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli.options import Json, Name, print_json

app = typer.Typer(help="Check the schemas of the project.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(file_okay=False, help="Folder of schemas; default: the setting schemas.directory.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that each schema and all of its releases can read each other, in both directions. Exit code 1: they cannot.

    The engine's own schemas are checked too: names and ids of both must differ.
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
    from surgetank.declaration import SCORE
    from surgetank.errors import TopologyError
    from surgetank.settings import load

    pipeline, folder = resolve(name), load().schemas.directory
    schema = pipeline.scores.schema
    if schema == SCORE:
        raise TopologyError(
            f"the scores of pipeline {pipeline.name!r} have the schema of the engine; declare "
            "Scores(..., passthrough=(FIELD, ...), schema=NAME) first"
        )
    id_ = write_score_schema(folder, schema, make_score_schema(project_schemas(folder), pipeline))
    if as_json:
        print_json({"file": str(folder / f"{schema}.avsc"), "id": id_})
    else:
        typer.echo(f"{folder / schema}.avsc: id {id_}")
