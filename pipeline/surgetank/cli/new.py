"""``surgetank new``: make the folder of a project."""

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the pipeline, for example my-fraud.")],
    folder: Annotated[
        Path | None, typer.Option(help="Folder to make; default: one with the name, in the current folder.")
    ] = None,
) -> None:
    """Make the folder of a project that runs at once: pipeline, schema, model, sample events, settings, tests."""
    from surgetank.scaffold.new_project import new_project

    target = folder or Path(name)
    made = new_project(name, target)
    typer.echo(f"made {len(made)} files in {target}; next:")
    typer.echo(
        f"  cd {target}\n  surgetank dev       # Kafka, a worker, sample events and their scores; Ctrl-C ends all"
    )
