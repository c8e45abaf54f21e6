"""``surgetank monitoring``: the rules, dashboards and runbooks for the workers of a project."""

from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli.options import Json, print_json


def monitoring(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder to write to; existing files are replaced.")
    ] = Path("ops"),
    as_json: Json = False,
) -> None:
    """Write Prometheus' rules, Alertmanager's routes, Grafana's dashboards, and the runbooks of the alerts."""
    from surgetank.scaffold.monitoring_files import write_monitoring_files

    made = write_monitoring_files(folder)
    if as_json:
        print_json({"folder": str(folder), "files": made})
        return
    typer.echo(f"wrote {len(made)} files to {folder}; the rules: {folder}/prometheus/rules/surgetank.yml")
