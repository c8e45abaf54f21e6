"""``surgetank models``: the bundles of models. One file per family of commands."""

import typer

from surgetank.cli import models_quantize

app = typer.Typer(help="Make cheaper forms of models.", no_args_is_help=True)
app.callback()(lambda: None)  # a group, also while it has one command
app.command("quantize")(models_quantize.quantize)
