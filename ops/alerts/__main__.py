"""Writes the rules and dashboards: python -m ops.alerts [--check]."""

from pathlib import Path
from typing import Annotated

import typer

from ops.alerts import dashboards, objectives, rules

ROOT = Path(__file__).parents[1]


def made(grafana: str = objectives.GRAFANA, runbooks: str = objectives.RUNBOOKS) -> dict[Path, str]:
    """Return every file that is made, with its text."""
    boards = {
        ROOT / "grafana" / "dashboards" / f"{board.uid}.json": dashboards.text(board) for board in dashboards.boards()
    }
    return {ROOT / "prometheus" / "rules" / "surgetank.yml": rules.render(grafana, runbooks)} | boards


def main(
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit status 1 if a file is not as made")
    ] = False,
    grafana: Annotated[str, typer.Option(help="where dashboards are read")] = objectives.GRAFANA,
    runbooks: Annotated[str, typer.Option(help="where runbooks are read")] = objectives.RUNBOOKS,
) -> None:
    """Write the Prometheus rules and the Grafana dashboards from the metric catalogue and the objectives."""
    stale = [path for path, text in made(grafana, runbooks).items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made(grafana, runbooks)[path])
        typer.echo(f"{'differs' if check else 'wrote'}  {path.relative_to(ROOT.parent)}")
    if not stale:
        typer.echo("all is as it is made")
    raise typer.Exit(1 if check and stale else 0)


if __name__ == "__main__":
    typer.run(main)
