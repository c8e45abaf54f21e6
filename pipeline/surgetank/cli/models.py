"""``surgetank models``: the group of commands about the versions of a pipeline's model."""

import typer

app = typer.Typer(help="Say which versions of a pipeline's model answer.", no_args_is_help=True)
