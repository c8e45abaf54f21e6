"""``surgetank monitoring``: the rules, dashboards and runbooks for the workers of a project."""

from pathlib import Path
from typing import Annotated

import typer

from surgetank.cli.options import Json, SettingsOptions, print_json, with_settings


@with_settings
def monitoring(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="Folder to write to; existing files are replaced.")
    ] = Path("ops"),
    as_json: Json = False,
    *,
    given: SettingsOptions,
) -> None:
    """Write Prometheus' rules, Alertmanager's routes, Grafana's dashboards, and the runbooks of the alerts.

    With a token or a certificate in the settings http.*, Prometheus and Alertmanager use them.
    """
    from surgetank.scaffold.monitoring_files import write_monitoring_files
    from surgetank.scaffold.secured_monitoring import needed_files

    http = given.load().http
    made = write_monitoring_files(folder, http)
    if as_json:
        print_json({"folder": str(folder), "files": made, "to_add": needed_files(http)})
        return
    typer.echo(f"wrote {len(made)} files to {folder}; the rules: {folder}/prometheus/rules/surgetank.yml")
    for name, content in needed_files(http).items():
        typer.echo(f"put into {folder}/prometheus/{name} and {folder}/alertmanager/{name}: {content}")
