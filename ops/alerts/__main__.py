"""Writes the generated rules and dashboards: python -m ops.alerts [--check]."""

from pathlib import Path
from typing import Annotated

import typer

from ops.alerts import dashboards, objectives, rules

ROOT = Path(__file__).parents[1]


def generated_files(grafana: str = objectives.GRAFANA, runbooks: str = objectives.RUNBOOKS) -> dict[Path, str]:
    """Return the path and the text of every generated file."""
    folder = ROOT / "grafana" / "dashboards"
    board_files = {folder / f"{each.uid}.json": dashboards.render_json(each) for each in dashboards.dashboards()}
    return {ROOT / "prometheus" / "rules" / "surgetank.yml": rules.render(grafana, runbooks)} | board_files


def main(
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit with status 1 if a file is out of date")
    ] = False,
    grafana: Annotated[str, typer.Option(help="base URL of Grafana")] = objectives.GRAFANA,
    runbooks: Annotated[str, typer.Option(help="base URL or path of the runbooks")] = objectives.RUNBOOKS,
) -> None:
    """Write the Prometheus rules and the Grafana dashboards from the metric catalogue and the objectives."""
    files = generated_files(grafana, runbooks)
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path])
        typer.echo(f"{'differs' if check else 'wrote'}  {path.relative_to(ROOT.parent)}")
    if not stale:
        typer.echo("all files are up to date")
    raise typer.Exit(1 if check and stale else 0)


if __name__ == "__main__":
    typer.run(main)
