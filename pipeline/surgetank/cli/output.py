"""Tables on standard output: they fit a terminal; in a pipe they are plain text, with each row on one line."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_COLUMNS = 10_000


def output_console() -> "Console":
    """Return the console of standard output. Without a terminal, and without COLUMNS, lines are not wrapped."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, width=PIPE_COLUMNS)


def add_columns(table: "Table", widths: Mapping[str, int], console: "Console") -> None:
    """Add a column for each of ``widths``, in characters: tables that are printed one after the other are aligned.

    Where lines are not wrapped, longer text makes a row longer.
    """
    exact = console.width < PIPE_COLUMNS
    for title, width in widths.items():
        table.add_column(title, width=width if exact else None, min_width=width, overflow="fold")


def print_table(table: "Table") -> None:
    """Print a table. Text that is too long for its column is folded, and never cut; without a terminal, no lines."""
    console = output_console()
    for column in table.columns:
        column.overflow = "fold"
    if not console.is_terminal:
        table.box = None
        table.pad_edge = False
        table.title_justify = table.caption_justify = "left"
        with console.capture() as printed:
            console.print(table)
        print("\n".join(line.rstrip() for line in printed.get().splitlines()))
    else:
        console.print(table)
