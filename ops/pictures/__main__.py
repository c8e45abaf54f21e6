"""Draws the pictures again: python -m ops.pictures."""

from pathlib import Path
from typing import Annotated

import typer

from ops.pictures import overview

HERE = Path(__file__).parent


def main(
    folder: Annotated[Path, typer.Option(help="for data and logs of the run")] = Path(".surgetank") / "pictures",
    out: Annotated[Path, typer.Option(help="where the picture goes")] = HERE / "overview.svg",
) -> None:
    """Run real Kafka, workers and Prometheus for five minutes, and draw the overview's panels from what it saw."""
    text = overview.draw(folder, typer.echo)
    out.write_text(text)
    typer.echo(f"wrote {out}, {len(text) / 1024:.0f} KiB")


if __name__ == "__main__":
    typer.run(main)
