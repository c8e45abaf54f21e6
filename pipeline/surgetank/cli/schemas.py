"""``surgetank schemas``: check the schemas of the project."""

from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli.options import Json, print_json

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
