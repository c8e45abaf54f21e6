"""``surgetank monitoring``: the rules, dashboards and runbooks for the workers of a project."""

from pathlib import Path
from typing import Annotated

import typer


def monitoring(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder to write to; existing files are replaced.")
    ] = Path("ops"),
) -> None:
    """Write Prometheus' rules, Alertmanager's routes, Grafana's dashboards, and the runbooks of the alerts."""
    from surgetank.scaffold.monitoring_files import write_monitoring_files

    made = write_monitoring_files(folder)
    typer.echo(f"wrote {len(made)} files to {folder}; the rules: {folder}/prometheus/rules/surgetank.yml")
