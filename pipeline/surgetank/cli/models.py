"""``surgetank models``: bundles, and which versions answer. One file per family of commands."""

import typer

from surgetank.cli import models_bundles, models_quantize, models_registry, models_rollout

app = typer.Typer(help="Make, check and publish models, and say which versions answer.", no_args_is_help=True)
app.command("build")(models_bundles.build)
app.command("import-onnx")(models_bundles.import_onnx)
app.command("list")(models_registry.list_)
app.command("show")(models_registry.show)
app.command("verify")(models_registry.verify)
app.command("publish")(models_registry.publish)
app.command("pull")(models_registry.pull)
app.command("quantize")(models_quantize.quantize)
models_rollout.add_commands(app)
