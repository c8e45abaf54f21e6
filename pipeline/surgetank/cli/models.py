"""``surgetank models``: make, check, publish and pull bundles. One file per family of commands."""

import typer

from surgetank.cli import models_bundles, models_registry

app = typer.Typer(help="Make, check, publish and pull the bundles of models.", no_args_is_help=True)
app.command("build")(models_bundles.build)
app.command("import-onnx")(models_bundles.import_onnx)
app.command("list")(models_registry.list_)
app.command("show")(models_registry.show)
app.command("verify")(models_registry.verify)
app.command("publish")(models_registry.publish)
app.command("pull")(models_registry.pull)
