"""``surgetank schemas``: check the schemas of the project."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check the schemas of the project.", no_args_is_help=True)


@app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(file_okay=False, help="Folder of schemas; default: the setting schemas.directory.")
    ] = None,
) -> None:
    """Check that each schema and all of its releases can read each other, in both directions. Exit code 1: they cannot.

    The engine's own schemas are checked too: names and ids of both must differ.
    """
    from surgetank.codec.evolution import main

    raise typer.Exit(main([str(folder)] if folder else []))
